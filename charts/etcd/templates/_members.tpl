{{- define "etcd.initialCluster" -}}
{{- $name := include "vp.fullname" . -}}
{{- $scheme := include "vp.tls.scheme" . -}}
{{- $members := list -}}
{{- range $number := until (int .Values.replicaCount) -}}
{{- $members = append $members (printf "%s-%d=%s://%s-%d.%s-peers:2380" $name $number $scheme $name $number $name) -}}
{{- end -}}
{{- join "," $members -}}
{{- end }}

{{/*
Refuses another number of members for data that exists. The members are configured statically, so that the old and the
new ones would be two clusters, each of which is ready and takes writes.
*/}}
{{- define "etcd.membersCheck" -}}
{{- $name := include "vp.fullname" . -}}
{{- $wanted := int .Values.replicaCount -}}
{{- $way := "Replace etcd alone, with the platform up: docs/etcd.md has the steps under 'From one member to three'." -}}
{{- $live := lookup "apps/v1" "StatefulSet" .Release.Namespace $name -}}
{{- if $live -}}
{{- /* the members it was made with: its scale may have been changed by hand for a while */ -}}
{{- $container := first $live.spec.template.spec.containers -}}
{{- range $container.args -}}
{{- if hasPrefix "--initial-cluster=" . -}}
{{- $members := len (splitList "," .) -}}
{{- if ne $members $wanted -}}
{{- fail (printf "replicaCount is %d, and the running etcd has %d: the member count of a live etcd cannot be changed. %s" $wanted $members $way) -}}
{{- else if and (gt $members 1) (not (contains (printf "=%s://" (include "vp.tls.scheme" $)) .)) -}}
{{- /* members keep each other's addresses in their data, the scheme included: none would find another */ -}}
{{- fail (printf "global.tls.enabled is %v, and the %d members of the running etcd know each other by other addresses. docs/tls-charts.md has the steps under 'Turn it on in a live release'." $.Values.global.tls.enabled $members) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- else if .Values.persistence.enabled -}}
{{- $first := lookup "v1" "PersistentVolumeClaim" .Release.Namespace (printf "data-%s-0" $name) -}}
{{- $second := lookup "v1" "PersistentVolumeClaim" .Release.Namespace (printf "data-%s-1" $name) -}}
{{- if and (eq $wanted 1) $second -}}
{{- fail (printf "replicaCount is 1, and the claims of an etcd of 3 are left. %s" $way) -}}
{{- else if and (eq $wanted 3) $first (not $second) -}}
{{- fail (printf "replicaCount is 3, and the claim of an etcd of 1 is left. %s" $way) -}}
{{- end -}}
{{- end -}}
{{- end }}
