{{/*
The metadata of an object. Parameters: root; if it is not the chart's main object, suffix or name; namespace, if it is not the release's;
labels and annotations beside those that all objects have.
*/}}
{{- define "vp.metadata" -}}
{{- $values := .root.Values -}}
name: {{ .name | default (printf "%s%s" (include "vp.fullname" .root) (.suffix | default "")) | quote }}
namespace: {{ .namespace | default .root.Release.Namespace | quote }}
labels: {{- merge (dict) (.labels | default dict) (include "vp.labels" .root | fromYaml) | toYaml | nindent 2 }}
{{- with merge (dict) (.annotations | default dict) ($values.commonAnnotations | default dict) ($values.global.commonAnnotations | default dict) }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/*
The metadata of a Service that clients use.
*/}}
{{- define "vp.serviceMetadata" -}}
{{- include "vp.metadata" (dict "root" . "labels" .Values.service.labels "annotations" .Values.service.annotations) -}}
{{- end }}

{{/*
The addresses of a Service, as lines of its spec.
*/}}
{{- define "vp.ipFamilies" -}}
{{- $lines := dict -}}
{{- range $name := list "ipFamilyPolicy" "ipFamilies" -}}
{{- with get $.Values.service $name | default (get $.Values.global $name) }}{{ $lines = set $lines $name . }}{{ end -}}
{{- end -}}
{{- with $lines }}{{ toYaml . }}{{ end -}}
{{- end }}

{{/*
An operator's own manifests, in which templates are rendered.
*/}}
{{- define "vp.extraObjects" -}}
{{- range .Values.extraObjects }}
---
{{ tpl (kindIs "string" . | ternary . (toYaml .)) $ }}
{{- end }}
{{- end }}

{{- define "vp.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
apiVersion: v1
kind: ServiceAccount
metadata: {{- include "vp.metadata" (dict "root" . "name" (include "vp.serviceAccountName" .) "annotations" .Values.serviceAccount.annotations) | nindent 2 }}
automountServiceAccountToken: false
{{- end }}
{{- end }}

{{- define "vp.podDisruptionBudget" -}}
{{- with .Values.podDisruptionBudget }}
{{- if .enabled }}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {{- include "vp.metadata" (dict "root" $) | nindent 2 }}
spec:
  {{- if not (has (toString .minAvailable) (list "" "<nil>")) }}
  minAvailable: {{ .minAvailable | toJson }}
  {{- else }}
  maxUnavailable: {{ .maxUnavailable | toJson }}
  {{- end }}
  unhealthyPodEvictionPolicy: {{ .unhealthyPodEvictionPolicy | quote }}
  selector:
    matchLabels: {{- include "vp.selectorLabels" $ | nindent 6 }}
{{- end }}
{{- end }}
{{- end }}

{{- define "vp.horizontalPodAutoscaler" -}}
{{- with .Values.autoscaling }}
{{- if .enabled }}
{{- if gt (int .minReplicas) (int .maxReplicas) }}
{{- fail (printf "autoscaling.minReplicas is %v, more than autoscaling.maxReplicas, %v." .minReplicas .maxReplicas) }}
{{- end }}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {{- include "vp.metadata" (dict "root" $) | nindent 2 }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: {{ include "vp.fullname" $ | quote }}
  minReplicas: {{ .minReplicas }}
  maxReplicas: {{ .maxReplicas }}
  metrics:
    {{- with .metrics }}
    {{- toYaml . | nindent 4 }}
    {{- else }}
    - type: Resource
      resource:
        name: cpu
        target:
          type: Utilization
          averageUtilization: {{ .targetCPUUtilizationPercentage }}
    {{- end }}
  {{- with .behavior }}
  behavior: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/*
A claim that outlives the release, made once unless there is one already. Parameters: root, name, persistence.
*/}}
{{- define "vp.keptClaim" -}}
{{- $root := .root -}}
{{- with .persistence }}
{{- if not (or .existingClaim (lookup "v1" "PersistentVolumeClaim" $root.Release.Namespace $.name)) }}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  {{- $annotations := merge (dict "helm.sh/resource-policy" "keep") .annotations }}
  {{- /* Not a part of the release: many classes bind a claim when its first pod runs, and --wait would wait for that until the first Job. */ -}}
  {{- if include "vp.cluster" $root }}{{ $annotations = merge $annotations (include "vp.onceHook" $root | fromYaml) }}{{ end }}
  {{- include "vp.metadata" (dict "root" $root "name" $.name "annotations" $annotations) | nindent 2 }}
spec:
  accessModes: [ReadWriteOnce]
  {{- with include "vp.storageClass" . }}{{ nindent 2 . }}{{ end }}
  resources:
    requests:
      storage: {{ .size | quote }}
{{- end }}
{{- end }}
{{- end }}
