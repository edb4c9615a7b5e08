{{/*
Where the registry, etcd, and the database are. `global` says so, once for all charts of a release; what it leaves
empty is what the release installs itself.
*/}}
{{- define "vp.registry.address" -}}
{{- $scheme := ternary "https://" "" .Values.global.tls.enabled -}}
{{- .Values.global.registry.address | default (printf "%s%s:2379" $scheme (include "vp.sibling" (dict "root" . "chart" "etcd"))) -}}
{{- end }}

{{- define "vp.registry.secretName" -}}
{{- .Values.global.registry.auth.existingSecret | default (include "vp.sibling" (dict "root" . "chart" "etcd")) -}}
{{- end }}

{{- define "vp.database.address" -}}
{{- with .Values.global.database.host -}}
{{- printf "%s:%d" . (int $.Values.global.database.port) -}}
{{- else -}}
{{- include "vp.sibling" (dict "root" . "chart" "mysql") }}:3306
{{- end -}}
{{- end }}

{{- define "vp.database.secretName" -}}
{{- .Values.global.database.existingSecret | default (include "vp.sibling" (dict "root" . "chart" "mysql")) -}}
{{- end }}

{{/*
Refuses a release whose services would look for an etcd or a MySQL that is not installed, and one that installs what
is not used. Only the chart that is installed itself can know.
*/}}
{{- define "vp.registry.check" -}}
{{- $address := .Values.global.registry.address -}}
{{- if and .Values.etcd.enabled $address -}}
{{- fail "etcd.enabled is true and global.registry.address names another etcd: set etcd.enabled to false, or leave the address empty." -}}
{{- else if not (or .Values.etcd.enabled $address) -}}
{{- fail "etcd.enabled is false: say in global.registry.address where etcd is, as host:port or several of them with commas between." -}}
{{- end -}}
{{- if and .Values.global.registry.auth.enabled $address (not .Values.global.registry.auth.existingSecret) -}}
{{- fail "global.registry.auth.enabled is true and the etcd is another's: name the Secret with its passwords in global.registry.auth.existingSecret (keys registrar-password and resolver-password)." -}}
{{- end -}}
{{- if and .Values.global.registry.tls.existingSecret (not (hasPrefix "https://" $address)) -}}
{{- fail "global.registry.tls.existingSecret is for another's etcd that speaks TLS: name it in global.registry.address as https://host:port, or leave the Secret empty." -}}
{{- else if and (hasPrefix "https://" $address) (not (or .Values.global.registry.tls.existingSecret .Values.global.tls.enabled)) -}}
{{- fail "global.registry.address begins with https://: name the Secret with the CA of that etcd in global.registry.tls.existingSecret (key ca.crt), or set global.tls.enabled, which has a CA." -}}
{{- end -}}
{{- end }}

{{- define "vp.database.check" -}}
{{- with .Values.global.database -}}
{{- if and $.Values.mysql.enabled .host -}}
{{- fail "mysql.enabled is true and global.database.host names another server: set mysql.enabled to false, or leave the host empty." -}}
{{- else if not (or $.Values.mysql.enabled .host) -}}
{{- fail "mysql.enabled is false: say in global.database.host where MySQL is." -}}
{{- end -}}
{{- if and .host (not .existingSecret) -}}
{{- fail "global.database.host is set: name the Secret with the password of that server's user in global.database.existingSecret (key password)." -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/*
The environment of a registry client. Parameters: root, role (registrar or resolver).
*/}}
{{- define "vp.registry.env" -}}
{{- $registry := .root.Values.global.registry -}}
- name: ETCD_ADDRESS
  value: {{ include "vp.registry.address" .root | quote }}
- name: REGISTRY_PREFIX
  value: {{ $registry.prefix | quote }}
- name: REGISTRY_SERVICE
  value: {{ $registry.service | quote }}
{{- if $registry.auth.enabled }}
- name: ETCD_USERNAME
  value: {{ get $registry.auth .role | quote }}
- name: ETCD_PASSWORD_FILE
  value: /run/secrets/registry/{{ .role }}-password
{{- end }}
{{- if $registry.tls.existingSecret }}
{{ include "vp.tls.env" (dict "prefix" "ETCD" "folder" "/run/secrets/registry-tls" "own" $registry.tls.clientCertificate) }}
{{- else if and .root.Values.global.tls.enabled (hasPrefix "https://" (include "vp.registry.address" .root)) }}
{{ include "vp.tls.env" (dict "prefix" "ETCD" "folder" "/run/secrets/mtls" "own" true) }}
{{- end }}
{{- end }}

{{- define "vp.registry.volumes" -}}
{{- $registry := .root.Values.global.registry -}}
{{- if $registry.auth.enabled }}
- name: registry-password
  secret:
    secretName: {{ include "vp.registry.secretName" .root | quote }}
    defaultMode: 0440
    items:
      - key: {{ .role }}-password
        path: {{ .role }}-password
{{- end }}
{{- if $registry.tls.existingSecret }}
- name: registry-tls
  secret:
    secretName: {{ $registry.tls.existingSecret | quote }}
    defaultMode: 0440
    items:
      {{- include "vp.tls.items" (ternary (list "tls.crt" "tls.key" "ca.crt") (list "ca.crt") $registry.tls.clientCertificate) | nindent 6 }}
{{- end }}
{{- end }}

{{- define "vp.registry.volumeMounts" -}}
{{- $registry := .root.Values.global.registry -}}
{{- if $registry.auth.enabled }}
- name: registry-password
  mountPath: /run/secrets/registry
  readOnly: true
{{- end }}
{{- if $registry.tls.existingSecret }}
- name: registry-tls
  mountPath: /run/secrets/registry-tls
  readOnly: true
{{- end }}
{{- end }}
