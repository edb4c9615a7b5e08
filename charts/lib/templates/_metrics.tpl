{{/*
How Prometheus comes to the metrics, and what it makes of them. Rules and dashboards find series by the labels `job`,
the chart's name, `namespace`, `release`, `pod` and `instance`: each way of scraping gives them these.
*/}}

{{/*
For a Prometheus that scrapes pods by their annotations. Parameters: root, port.
*/}}
{{- define "vp.scrapeAnnotations" -}}
{{- if .root.Values.metrics.annotations -}}
prometheus.io/scrape: "true"
prometheus.io/port: {{ .port | quote }}
prometheus.io/path: /metrics
{{- end -}}
{{- end }}

{{- define "vp.releaseLabel" -}}
- targetLabel: release
  replacement: {{ .Release.Name | quote }}
{{- end }}

{{/*
Prometheus scrapes each pod's own port, so that no Service need carry it. Parameters: root, port.
*/}}
{{- define "vp.podMonitor" -}}
{{- with .root.Values.metrics.podMonitor }}
{{- if .enabled }}
apiVersion: monitoring.coreos.com/v1
kind: PodMonitor
metadata: {{- include "vp.metadata" (dict "root" $.root "labels" .labels) | nindent 2 }}
spec:
  # Rules and dashboards find the series by the label `job`.
  jobLabel: app.kubernetes.io/name
  selector:
    matchLabels: {{- include "vp.selectorLabels" $.root | nindent 6 }}
  podMetricsEndpoints:
    - port: {{ $.port }}
      path: /metrics
      interval: {{ .interval | quote }}
      scrapeTimeout: {{ .scrapeTimeout | quote }}
      relabelings: {{- include "vp.releaseLabel" $.root | nindent 8 }}
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
metadata: {{- include "vp.metadata" (dict "root" $.root "suffix" "-metrics" "labels" (dict "app.kubernetes.io/component" "metrics")) | nindent 2 }}
spec:
  {{- with include "vp.ipFamilies" $.root }}{{ nindent 2 . }}{{ end }}
  clusterIP: None
  publishNotReadyAddresses: true
  selector: {{- include "vp.selectorLabels" $.root | nindent 4 }}
  ports:
    - name: {{ $.port | quote }}
      port: {{ $.number }}
      targetPort: {{ $.port }}
---
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata: {{- include "vp.metadata" (dict "root" $.root "labels" .labels) | nindent 2 }}
spec:
  jobLabel: app.kubernetes.io/name
  selector:
    matchLabels:
      app.kubernetes.io/component: metrics
      {{- include "vp.selectorLabels" $.root | nindent 6 }}
  endpoints:
    - port: {{ $.port }}
      path: /metrics
      interval: {{ .interval | quote }}
      scrapeTimeout: {{ .scrapeTimeout | quote }}
      relabelings: {{- include "vp.releaseLabel" $.root | nindent 8 }}
{{- end }}
{{- end }}
{{- end }}

{{/*
The rules of files/rules, each of whose selectors has the job, kept to the series of this release: another's would
raise these alerts, and be recorded under the same names. An operator may leave alerts out, and change the thresholds of files/thresholds.yaml.
*/}}
{{- define "vp.prometheusRule" -}}
{{- with .Values.metrics.prometheusRule }}
{{- if .enabled }}
{{- $job := printf "job=%q" $.Chart.Name }}
{{- $own := printf "%s,namespace=%q,release=%q" $job $.Release.Namespace $.Release.Name }}
{{- $rules := $.Files.Get (printf "files/rules/%s.yaml" $.Chart.Name) | replace $job $own | replace "docs/runbooks/" (printf "%s/" .runbookUrl) | fromYaml }}
{{- $limits := $.Files.Get "files/thresholds.yaml" | fromYaml }}
{{- range $name, $_ := .thresholds }}
{{- if not (hasKey $limits $name) }}{{ fail (printf "metrics.prometheusRule.thresholds: %s is no alert of %s with a threshold. Those are: %s." $name $.Chart.Name (keys $limits | sortAlpha | join ", ")) }}{{ end }}
{{- end }}
{{- $names := list }}
{{- range $group := $rules.groups }}
{{- $kept := list }}
{{- range $rule := $group.rules }}
{{- $name := trimPrefix "VideoPlatform" ($rule.alert | default "") }}
{{- $names = append $names $name }}
{{- if hasKey $.Values.metrics.prometheusRule.thresholds $name }}
{{- $severity := $rule.labels.severity }}
{{- $given := get $.Values.metrics.prometheusRule.thresholds $name }}
{{- if kindIs "map" $given }}{{ $given = get $given $severity }}{{ end }}
{{- if ne (toString $given) "" }}
{{- $limit := get (get $limits $name) $severity }}
{{- $rule = set $rule "expr" ($rule.expr | replace ($limit.part | replace "{}" $limit.number) ($limit.part | replace "{}" (toString $given))) }}
{{- end }}
{{- end }}
{{- if not (get $.Values.metrics.prometheusRule.disabled $name) }}{{ $kept = append $kept $rule }}{{ end }}
{{- end }}
{{- $group = set $group "rules" $kept }}
{{- with $.Values.metrics.prometheusRule.interval }}{{ $group = set $group "interval" . }}{{ end }}
{{- end }}
{{- range $name, $_ := .disabled }}
{{- if not (has $name $names) }}{{ fail (printf "metrics.prometheusRule.disabled: %s is no alert of %s. Those are: %s." $name $.Chart.Name (without $names "" | uniq | sortAlpha | join ", ")) }}{{ end }}
{{- end }}
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata: {{- include "vp.metadata" (dict "root" $ "labels" .labels) | nindent 2 }}
spec:
  groups: {{- toYaml $rules.groups | nindent 4 }}
{{- end }}
{{- end }}
{{- end }}

{{/*
The dashboards of files/dashboards, for the sidecar that Grafana's chart puts beside Grafana. It writes all that it
finds into one folder, so that the names of their files begin with the project's.
*/}}
{{- define "vp.dashboards" -}}
{{- with .Values.metrics.dashboards }}
{{- if .enabled }}
apiVersion: v1
kind: ConfigMap
metadata: {{- include "vp.metadata" (dict "root" $ "suffix" "-dashboards" "namespace" .namespace "labels" .labels "annotations" .annotations) | nindent 2 }}
data:
  {{- range $path, $_ := $.Files.Glob "files/dashboards/*.json" }}
  video-platform-{{ base $path }}: |
    {{- $.Files.Get $path | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}
{{- end }}
