{{/*
What the server reads at its start.
*/}}
{{- define "mysql.files" -}}
server.cnf: |
  {{- .Values.configuration | trim | nindent 2 }}
# Run at every start: certificates may have been turned on or off since the account was made.
account.sql: |
  ALTER USER IF EXISTS '{{ .Values.global.database.username }}'@'%' REQUIRE {{ ternary "X509" "NONE" .Values.global.tls.enabled }};
{{- $scripts := list "start.sh" "alive.sh" "ready.sh" }}
{{- if .Values.global.tls.enabled }}
{{- $scripts = append $scripts "reload-tls.sh" }}
{{- end }}
{{- range $scripts }}
{{ . }}: |
  {{- $.Files.Get (printf "files/%s" .) | trim | nindent 2 }}
{{- end }}
{{- end }}

{{/*
The labels of a pod that makes a backup. Not the server's own name: the Service would send clients there.
*/}}
{{- define "mysql.backupLabels" -}}
app.kubernetes.io/name: mysql-backup
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}
