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
Rendered by the chart that is installed, the only one that knows how many connections its user service may open. The parameter is MySQL's own
context, with that of the user service, if there is one, as `userService`.
*/}}
{{- define "mysql.configmap" -}}
apiVersion: v1
kind: ConfigMap
metadata: {{- include "vp.metadata" (dict "root" .) | nindent 2 }}
data:
  {{- include "mysql.files" . | nindent 2 }}
  {{- with include "mysql.maxConnections" . }}
  max-connections: {{ . | quote }}
  {{- end }}
  {{- if .Values.backup.enabled }}
  backup.sh: |
    {{- .Files.Get "files/backup.sh" | trim | nindent 4 }}
  {{- end }}
{{- end }}

{{/*
Connections that the pods of the user service may open: each its pool and one that asks after the database's health, with one pod more in a
rollout, and 20 for migrations, probes, backups and people. No more than memory is enough for: 0.54 MiB each were measured, beside 480, and a
server that is killed loses them all. Nothing where there is no user service, or where the operator has said how many.
*/}}
{{- define "mysql.maxConnections" -}}
{{- if and .userService (not (regexMatch "max[-_]connections" (printf "%s %v" .Values.configuration .Values.extraArgs))) -}}
{{- $most := 100000 -}}
{{- with dig "limits" "memory" "" .Values.resources -}}
{{- $most = divf (subf (include "mysql.mebibytes" . | float64) 512) 0.75 | int -}}
{{- end -}}
{{- with .userService -}}
{{- /* another autoscaler may go as far, while replicaCount is null */ -}}
{{- $pods := .Values.autoscaling.maxReplicas -}}
{{- if not (or .Values.autoscaling.enabled (kindIs "invalid" .Values.replicaCount)) -}}
{{- $pods = include "vp.replicas" (dict "root" . "kind" "Deployment") -}}
{{- end -}}
{{- $pool := .Values.databasePool -}}
{{- add (mul (add $pods 1) (add $pool.size $pool.maxOverflow 1)) 20 | min $most | max 151 -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/*
A quantity of memory in MiB.
*/}}
{{- define "mysql.mebibytes" -}}
{{- $number := kindIs "string" . | ternary (regexFind "^[0-9.]+" (toString .)) . | float64 -}}
{{- $unit := kindIs "string" . | ternary (regexFind "[A-Za-z]*$" (toString .)) "" -}}
{{- $bytes := dict "m" 0.001 "" 1 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "E" 1e18 -}}
{{- $bytes = merge $bytes (dict "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 "Pi" 1125899906842624 "Ei" 1152921504606846976) -}}
{{- divf (mulf $number (get $bytes $unit)) 1048576 -}}
{{- end }}

{{/*
The labels of a pod that makes a backup. Not the server's own name: the Service would send clients there.
*/}}
{{- define "mysql.backupLabels" -}}
app.kubernetes.io/name: mysql-backup
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}
