{{/*
An image reference. With a digest its tag is for people: nodes go by the digest. Parameters: root, image.
*/}}
{{- define "vp.image" -}}
{{- $repository := .image.repository -}}
{{- with .root.Values.global.imageRegistry -}}
{{- $repository = printf "%s/%s" . (regexReplaceAll "^([^/]*[.:][^/]*|localhost)/" $repository "") -}}
{{- end -}}
{{- printf "%s:%s" $repository (.image.tag | default .root.Chart.AppVersion) -}}
{{- with .image.digest }}@{{ . }}{{ end -}}
{{- end }}

{{/*
What every pod of these charts has, beside its containers and volumes.
*/}}
{{- define "vp.podSpec" -}}
serviceAccountName: {{ include "vp.serviceAccountName" . | quote }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- $pullSecrets := list }}
{{- range concat (.Values.global.imagePullSecrets | default list) .Values.imagePullSecrets }}
{{- $pullSecrets = append $pullSecrets (kindIs "string" . | ternary (dict "name" .) .) }}
{{- end }}
{{- with uniq $pullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
securityContext: {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- range . }}
  {{- $own := dict "labelSelector" (dict "matchLabels" (include "vp.selectorLabels" $ | fromYaml)) }}
  - {{ toYaml (merge (deepCopy .) $own) | nindent 4 | trim }}
  {{- end }}
{{- end }}
{{- end }}

{{/*
The annotations of a pod that Prometheus scrapes. An operator's win over those for the scrape. Parameters: root, port.
*/}}
{{- define "vp.podAnnotations" -}}
{{- with merge (deepCopy .root.Values.podAnnotations) (include "vp.scrapeAnnotations" . | fromYaml) -}}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/*
A Deployment or StatefulSet of ours, with an operator's podSpec, and deploymentSpec or statefulSetSpec, laid over it. Parameters: root,
manifest (its text).
*/}}
{{- define "vp.workload" -}}
{{- $manifest := fromYaml .manifest -}}
{{- with $manifest.Error }}{{ fail . }}{{ end -}}
{{- $values := .root.Values -}}
{{- include "vp.overlay" (dict "ours" $manifest.spec.template.spec "theirs" $values.podSpec) -}}
{{- include "vp.overlay" (dict "ours" $manifest.spec "theirs" (eq $manifest.kind "Deployment" | ternary $values.deploymentSpec $values.statefulSetSpec)) -}}
{{- toYaml $manifest -}}
{{- end }}

{{/*
Lays an operator's part of a manifest over ours, in place, as `kubectl apply` merges: mappings key by key, lists of what has names item by
item, and all else is replaced. Null removes what is ours. Parameters: ours, theirs.
*/}}
{{- define "vp.overlay" -}}
{{- $ours := .ours -}}
{{- range $key, $value := .theirs -}}
{{- $own := get $ours $key -}}
{{- if kindIs "invalid" $value -}}
{{- $ours = unset $ours $key -}}
{{- else if and (kindIs "map" $own) (kindIs "map" $value) -}}
{{- include "vp.overlay" (dict "ours" $own "theirs" $value) -}}
{{- else if and (kindIs "slice" $own) (has $key (list "containers" "initContainers" "volumes" "volumeMounts" "env" "ports")) -}}
{{- $name := eq $key "volumeMounts" | ternary "mountPath" "name" -}}
{{- range $item := $value -}}
{{- $same := dict -}}
{{- range $own -}}
{{- if eq (get . $name) (get $item $name) }}{{ $same = . }}{{ end -}}
{{- end -}}
{{- if $same -}}
{{- include "vp.overlay" (dict "ours" $same "theirs" $item) -}}
{{- else -}}
{{- $own = append $own $item -}}
{{- end -}}
{{- end -}}
{{- $ours = set $ours $key $own -}}
{{- else -}}
{{- $ours = set $ours $key $value -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/*
The pods that a workload is to have, or nothing where others decide on that. What has been scaled since stays: Helm 4 applies on the server,
which refuses to change a number that somebody else has set; and once a number was in a manifest of the release, leaving it out would make
it 1. The annotation holds what was applied last: replicaCount, nothing, or `live` for a number that others had set. Parameters: root, kind.
*/}}
{{- define "vp.replicas" -}}
{{- $wanted := .root.Values.replicaCount -}}
{{- $autoscaling := .root.Values.autoscaling | default dict -}}
{{- $live := lookup "apps/v1" .kind .root.Release.Namespace (include "vp.fullname" .root) -}}
{{- $applied := dig "metadata" "annotations" "video-platform/replica-count" "unknown" $live -}}
{{- if eq "true" (include "vp.replicas.ofOthers" .root) -}}
{{- if and $live (ne $applied "") -}}
{{- if $autoscaling.enabled }}{{ max $live.spec.replicas $autoscaling.minReplicas }}{{ else }}{{ $live.spec.replicas }}{{ end -}}
{{- end -}}
{{- else if and $live (eq (toString $wanted) $applied) -}}
{{- $live.spec.replicas -}}
{{- else -}}
{{- $wanted -}}
{{- end -}}
{{- end }}

{{- define "vp.replicas.ofOthers" -}}
{{- or (.Values.autoscaling | default dict).enabled (kindIs "invalid" .Values.replicaCount) -}}
{{- end }}

{{- define "vp.replicas.annotation" -}}
{{- $applied := toString .root.Values.replicaCount -}}
{{- if eq "true" (include "vp.replicas.ofOthers" .root) -}}
{{- $applied = include "vp.replicas" . | empty | ternary "" "live" -}}
{{- end -}}
video-platform/replica-count: {{ $applied | quote }}
{{- end }}

{{/*
A probe: its handler, unless the values have another, and the timings from the values. Parameters: handler, timings.
*/}}
{{- define "vp.probe" -}}
{{- toYaml (merge (deepCopy .timings) (pick .timings "exec" "grpc" "httpGet" "tcpSocket" | default .handler)) -}}
{{- end }}

{{/*
The seconds that Kubernetes gives a pod of a service to stop: the delay in which clients move to other pods, the calls in flight,
and five for the rest (the pool, the lease). Less would kill calls that the service still means to answer.
*/}}
{{- define "vp.terminationGracePeriod" -}}
{{- $least := add .Values.drainDelaySeconds .Values.graceSeconds 5 -}}
{{- with .Values.terminationGracePeriodSeconds -}}
{{- if lt (int64 .) (int64 $least) -}}
{{- fail (printf "terminationGracePeriodSeconds is %v, and a pod needs %v to drain: drainDelaySeconds %v + graceSeconds %v + 5. Raise it, lower the others, or leave it out." . $least $.Values.drainDelaySeconds $.Values.graceSeconds) -}}
{{- end -}}
{{- end -}}
{{- .Values.terminationGracePeriodSeconds | default $least -}}
{{- end }}

{{/*
The storage class of a claim; nothing leaves it to the cluster. Parameter: persistence.
*/}}
{{- define "vp.storageClass" -}}
{{- with .storageClass -}}
storageClassName: {{ trimPrefix "-" . | quote }}
{{- end -}}
{{- end }}
