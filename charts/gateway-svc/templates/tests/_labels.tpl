{{/*
The labels of the pod of `helm test`. Not the gateway's own name: the Service would send requests there.
*/}}
{{- define "gateway-svc.testLabels" -}}
app.kubernetes.io/name: gateway-svc-test
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}
