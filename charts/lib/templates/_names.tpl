{{/*
The name of the chart's objects: the release's name and the chart's, or the release's alone where it holds the chart's
and no other service's: two services of one release must not share a name. Charts without fullnameOverride are those
that others must find.
*/}}
{{- define "vp.fullname" -}}
{{- $held := list -}}
{{- range list "gateway-svc" "user-svc" -}}
{{- if contains . $.Release.Name }}{{ $held = append $held . }}{{ end -}}
{{- end -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if and (hasKey .Values "fullnameOverride") (eq .Chart.Name (join " " $held)) -}}
{{- include "vp.release" . | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- include "vp.sibling" (dict "root" . "chart" .Chart.Name) -}}
{{- end -}}
{{- end }}

{{/*
The name of what the chart `chart` installs in this release. Charts of one release find each other by it, so that it
depends on nothing but the release's name. 52 characters leave room for the hash that a StatefulSet puts behind its
name in a label of at most 63.
*/}}
{{- define "vp.sibling" -}}
{{- $longest := int (sub 51 (len .chart)) -}}
{{- printf "%s-%s" (include "vp.release" .root | trunc $longest | trimSuffix "-") .chart -}}
{{- end }}

{{/*
The release's name as a Service may bear it (RFC 1035): no digit first, and no dots.
*/}}
{{- define "vp.release" -}}
{{- regexReplaceAll "^([0-9])" (replace "." "-" .Release.Name) "r${1}" -}}
{{- end }}

{{- define "vp.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "vp.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: video-platform
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{/*
What selects the chart's pods. It holds no version: a selector cannot be changed, and pods that carry one would be
replaced by an upgrade that changes nothing else.
*/}}
{{- define "vp.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "vp.podLabels" -}}
{{- $fixed := include "vp.selectorLabels" . | fromYaml -}}
{{- range $name, $_ := .Values.podLabels -}}
{{- if hasKey $fixed $name }}{{ fail (printf "podLabels: %s is what selects the pods and cannot be changed" $name) }}{{ end -}}
{{- end -}}
{{- merge $fixed (deepCopy .Values.podLabels) | toYaml -}}
{{- end }}

{{- define "vp.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "vp.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end }}
