{{- define "vp.metadata" -}}
name: {{ include "vp.fullname" . | quote }}
namespace: {{ .Release.Namespace | quote }}
labels: {{- include "vp.labels" . | nindent 2 }}
{{- end }}

{{/*
The addresses of a Service, as lines of its spec.
*/}}
{{- define "vp.ipFamilies" -}}
{{- $lines := dict -}}
{{- range $name, $value := pick .Values.global "ipFamilyPolicy" "ipFamilies" -}}
{{- if $value }}{{ $lines = set $lines $name $value }}{{ end -}}
{{- end -}}
{{- with $lines }}{{ toYaml . }}{{ end -}}
{{- end }}

{{- define "vp.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "vp.serviceAccountName" . | quote }}
  namespace: {{ .Release.Namespace | quote }}
  labels: {{- include "vp.labels" . | nindent 4 }}
  {{- with .Values.serviceAccount.annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
automountServiceAccountToken: false
{{- end }}
{{- end }}

{{- define "vp.podDisruptionBudget" -}}
{{- if .Values.podDisruptionBudget.enabled }}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {{- include "vp.metadata" . | nindent 2 }}
spec:
  maxUnavailable: {{ .Values.podDisruptionBudget.maxUnavailable }}
  # Pods that are not ready may still serve, as the user service does while etcd is away: they count.
  unhealthyPodEvictionPolicy: IfHealthyBudget
  selector:
    matchLabels: {{- include "vp.selectorLabels" . | nindent 6 }}
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
metadata: {{- include "vp.metadata" $ | nindent 2 }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: {{ include "vp.fullname" $ | quote }}
  minReplicas: {{ .minReplicas }}
  maxReplicas: {{ .maxReplicas }}
  metrics:
    - type: Resource
      resource:
        name: cpu
        target:
          type: Utilization
          averageUtilization: {{ .targetCPUUtilizationPercentage }}
  {{- with .behavior }}
  behavior: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}
{{- end }}
