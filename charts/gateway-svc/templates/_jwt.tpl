{{- define "gateway-svc.secretName" -}}
{{- .Values.jwt.existingSecret | default (printf "%s-jwt" (include "vp.fullname" .)) -}}
{{- end }}

{{/*
Pods read the keys when they start, so keys that an operator gives as values roll the pods. Their hash gives nothing
away that tokens do not: a token is signed with the key and can be tried against guesses just as well. A key that the
chart makes up is left out: it does not exist yet at the first rendering, and the second would roll the pods for
nothing.
*/}}
{{- define "gateway-svc.keyAnnotations" -}}
{{- if or .Values.jwt.secret .Values.jwt.previousSecrets -}}
checksum/jwt: {{ toJson .Values.jwt | sha256sum }}
{{- end -}}
{{- end }}
