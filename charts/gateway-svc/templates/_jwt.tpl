{{- define "gateway-svc.secretName" -}}
{{- .Values.jwt.existingSecret | default (printf "%s-jwt" (include "vp.fullname" .)) -}}
{{- end }}
