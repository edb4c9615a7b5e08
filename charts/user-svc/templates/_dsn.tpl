{{/*
DB_DSN without its password, which a file holds.
*/}}
{{- define "user-svc.dsn" -}}
{{- $database := .Values.global.database -}}
{{- $parameters := list -}}
{{- range $name, $value := $database.parameters -}}
{{- $parameters = append $parameters (printf "%s=%s" $name ($value | toString | urlquery)) -}}
{{- end -}}
{{- printf "mysql://%s@%s/%s" $database.username (include "vp.database.address" .) $database.name -}}
{{- with $parameters }}?{{ join "&" . }}{{ end -}}
{{- end }}
