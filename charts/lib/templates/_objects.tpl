{{- define "vp.metadata" -}}
name: {{ include "vp.fullname" . }}
namespace: {{ .Release.Namespace }}
labels: {{- include "vp.labels" . | nindent 2 }}
{{- end }}

{{- define "vp.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "vp.serviceAccountName" . }}
  namespace: {{ .Release.Namespace }}
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
    name: {{ include "vp.fullname" $ }}
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

{{/*
Prometheus scrapes each pod's own port, so that no Service need carry it. Parameters: root, port.
*/}}
{{- define "vp.podMonitor" -}}
{{- with .root.Values.metrics.podMonitor }}
{{- if .enabled }}
apiVersion: monitoring.coreos.com/v1
kind: PodMonitor
metadata:
  name: {{ include "vp.fullname" $.root }}
  namespace: {{ $.root.Release.Namespace }}
  labels: {{- merge (include "vp.labels" $.root | fromYaml) .labels | toYaml | nindent 4 }}
spec:
  # Rules and dashboards find the series by the label `job`.
  jobLabel: app.kubernetes.io/name
  selector:
    matchLabels: {{- include "vp.selectorLabels" $.root | nindent 6 }}
  podMetricsEndpoints:
    - port: {{ $.port }}
      path: /metrics
      interval: {{ .interval }}
      scrapeTimeout: {{ .scrapeTimeout }}
{{- end }}
{{- end }}
{{- end }}

{{/*
The same by way of a Service, for operators whose Prometheus selects ServiceMonitors alone. The Service is one of its
own: the one that clients use must not publish metrics. Parameters: root, port, number.
*/}}
{{- define "vp.serviceMonitor" -}}
{{- with .root.Values.metrics.serviceMonitor }}
{{- if .enabled }}
{{- if $.root.Values.metrics.podMonitor.enabled }}
{{- fail "metrics.podMonitor.enabled and metrics.serviceMonitor.enabled are both true: Prometheus would scrape each pod twice. Keep one." }}
{{- end }}
apiVersion: v1
kind: Service
metadata:
  name: {{ include "vp.fullname" $.root }}-metrics
  namespace: {{ $.root.Release.Namespace }}
  labels: {{- merge (dict "app.kubernetes.io/component" "metrics") (include "vp.labels" $.root | fromYaml) | toYaml | nindent 4 }}
spec:
  clusterIP: None
  publishNotReadyAddresses: true
  selector: {{- include "vp.selectorLabels" $.root | nindent 4 }}
  ports:
    - name: {{ $.port }}
      port: {{ $.number }}
      targetPort: {{ $.port }}
---
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata:
  name: {{ include "vp.fullname" $.root }}
  namespace: {{ $.root.Release.Namespace }}
  labels: {{- merge (include "vp.labels" $.root | fromYaml) .labels | toYaml | nindent 4 }}
spec:
  jobLabel: app.kubernetes.io/name
  selector:
    matchLabels:
      app.kubernetes.io/component: metrics
      {{- include "vp.selectorLabels" $.root | nindent 6 }}
  endpoints:
    - port: {{ $.port }}
      path: /metrics
      interval: {{ .interval }}
      scrapeTimeout: {{ .scrapeTimeout }}
{{- end }}
{{- end }}
{{- end }}
