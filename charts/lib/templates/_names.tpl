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
The release's name as a Service may have it (RFC 1035): no digit first, and no dots.
*/}}
{{- define "vp.release" -}}
{{- regexReplaceAll "^([0-9])" (replace "." "-" .Release.Name) "r${1}" -}}
{{- end }}

{{/*
The labels of the chart's objects: an operator's, and ours where they do not say otherwise.
*/}}
{{- define "vp.labels" -}}
{{- $own := include "vp.selectorLabels" . | fromYaml -}}
{{- $own = set $own "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") -}}
{{- $own = set $own "app.kubernetes.io/version" .Chart.AppVersion -}}
{{- $own = set $own "app.kubernetes.io/part-of" "video-platform" -}}
{{- $own = set $own "app.kubernetes.io/managed-by" .Release.Service -}}
{{- merge (include "vp.commonLabels" . | fromYaml) $own | toYaml -}}
{{- end }}

{{- define "vp.commonLabels" -}}
{{- $labels := merge (dict) (.Values.commonLabels | default dict) (.Values.global.commonLabels | default dict) -}}
{{- include "vp.notSelecting" (dict "root" . "labels" $labels "setting" "commonLabels") -}}
{{- toYaml $labels -}}
{{- end }}

{{/*
Refuses labels that would change what selects the pods. Parameters: root, labels, setting.
*/}}
{{- define "vp.notSelecting" -}}
{{- $fixed := include "vp.selectorLabels" .root | fromYaml -}}
{{- range $name, $_ := .labels -}}
{{- if hasKey $fixed $name }}{{ fail (printf "%s: %s is what selects the pods and cannot be changed" $.setting $name) }}{{ end -}}
{{- end -}}
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
{{- include "vp.notSelecting" (dict "root" . "labels" .Values.podLabels "setting" "podLabels") -}}
{{- merge (include "vp.selectorLabels" . | fromYaml) (deepCopy .Values.podLabels) (include "vp.commonLabels" . | fromYaml) | toYaml -}}
{{- end }}

{{- define "vp.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "vp.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end }}
