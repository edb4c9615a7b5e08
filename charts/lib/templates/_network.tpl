{{/*
Rules that several NetworkPolicies have. Peers are pods of the same namespace, by name and whatever their release, so
that services that were installed apart can meet.
*/}}
{{- define "vp.network.peers" -}}
- podSelector:
    matchExpressions:
      - key: app.kubernetes.io/name
        operator: In
        values: {{- toYaml . | nindent 10 }}
{{- end }}

{{/*
DNS anywhere: a node-local cache answers on an address of the node, which no pod selector matches.
*/}}
{{- define "vp.network.dns" -}}
- ports:
    - port: 53
      protocol: UDP
    - port: 53
      protocol: TCP
{{- end }}

{{/*
Parameters: root, port.
*/}}
{{- define "vp.network.metrics" -}}
- from: {{- toYaml .root.Values.networkPolicy.metricsFrom | nindent 4 }}
  ports:
    - port: {{ .port }}
{{- end }}

{{/*
The way to etcd: pods of its chart, or the addresses in global.registry.address.
*/}}
{{- define "vp.network.registry" -}}
{{- with .Values.global.registry.address -}}
- ports:
    {{- range splitList "," . | uniq }}
    - port: {{ regexFind "[0-9]+$" (trim .) }}
    {{- end }}
{{- else -}}
- to: {{- include "vp.network.peers" (list "etcd") | nindent 4 }}
  ports:
    - port: 2379
{{- end }}
{{- end }}
