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
The pods that a workload is to have: replicaCount, or what `kubectl scale` has made of it since. Helm 4 applies on the
server, which refuses to change a number that somebody else has set. Parameters: root, kind.
*/}}
{{- define "vp.replicas" -}}
{{- $live := lookup "apps/v1" .kind .root.Release.Namespace (include "vp.fullname" .root) -}}
{{- if eq (toString .root.Values.replicaCount) (dig "metadata" "annotations" "video-platform/replica-count" "" $live) -}}
{{- $live.spec.replicas -}}
{{- else -}}
{{- .root.Values.replicaCount -}}
{{- end -}}
{{- end }}

{{- define "vp.replicas.annotation" -}}
video-platform/replica-count: {{ .Values.replicaCount | quote }}
{{- end }}

{{/*
A probe: its handler and the timings from the values. Parameters: handler, timings.
*/}}
{{- define "vp.probe" -}}
{{- toYaml (merge (deepCopy .timings) .handler) -}}
{{- end }}

{{/*
The seconds that Kubernetes gives a pod of a service to stop: the delay for clients to turn away, the calls in flight,
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
