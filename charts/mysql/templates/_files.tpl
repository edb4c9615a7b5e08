{{- define "mysql.files" -}}
server.cnf: |
  {{- .Values.configuration | trim | nindent 2 }}
{{- range list "start.sh" "alive.sh" "ready.sh" }}
{{ . }}: |
  {{- $.Files.Get (printf "files/%s" .) | trim | nindent 2 }}
{{- end }}
{{- end }}
