{{/*
CronJobs that save etcd's data and that give the space of what was deleted back. Rendered with the StatefulSet, by the chart that knows the
image of the user service: etcd's own has no shell, in which old snapshots could be deleted.
*/}}
{{- define "etcd.maintenance" -}}
{{- $root := . -}}
{{- $members := list -}}
{{- $name := include "vp.fullname" . -}}
{{- range $number := until (int .Values.replicaCount) -}}
{{- $members = append $members (printf "%s://%s-%d.%s-peers:2379" (include "vp.tls.scheme" $root) $name $number $name) -}}
{{- end -}}
{{- with .Values.snapshot }}
{{- if .enabled }}
{{- $claim := .persistence.existingClaim | default (include "vp.sibling" (dict "root" $root "chart" "etcd-snapshot")) }}
{{- $mount := dict "name" "snapshots" "mountPath" "/snapshots" }}
{{- $file := "/snapshots/$(POD_NAME).db" }}
{{- $sidecar := include "etcd.sidecar" $root | fromYaml }}
{{- $save := dict "name" "save" "command" (list "/usr/local/bin/etcdctl" "snapshot" "save" $file) "endpoints" (list (printf "%s://%s:2379" (include "vp.tls.scheme" $root) $name)) "mounts" (list $mount) }}
{{- $check := dict "name" "check" "command" (list "/usr/local/bin/etcdutl" "snapshot" "status" $file "--write-out=table") "mounts" (list $mount) }}
{{- $prune := dict "name" "prune" "image" $sidecar.image "pullPolicy" $sidecar.pullPolicy "command" (list "python" "-c" ($root.Files.Get "files/prune.py") "/snapshots" (toString .keepDays)) "mounts" (list $mount) }}
{{- include "etcd.cronJob" (dict "root" $root "kind" "snapshot" "job" . "first" (list $save $check) "last" $prune "volumes" (list (dict "name" "snapshots" "persistentVolumeClaim" (dict "claimName" $claim)))) }}
{{- include "vp.keptClaim" (dict "root" $root "name" $claim "persistence" .persistence) }}
{{- end }}
{{- end }}
{{- with .Values.defragmentation }}
{{- if .enabled }}
{{- /* one member after the other: each answers nothing while its turn lasts */ -}}
{{- $defragment := dict "name" "defragment" "command" (list "/usr/local/bin/etcdctl" "defrag" "--command-timeout=60s") "endpoints" $members }}
{{- include "etcd.cronJob" (dict "root" $root "kind" "defragmentation" "job" . "first" list "last" $defragment "volumes" list) }}
{{- end }}
{{- end }}
{{- if and .Values.networkPolicy.enabled (include "etcd.maintained" .) }}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{- include "vp.metadata" (dict "root" . "suffix" "-maintenance") | nindent 2 }}
spec:
  podSelector:
    matchLabels: {{- include "etcd.maintenanceLabels" . | nindent 6 }}
  policyTypes: [Ingress, Egress]
  egress:
    {{- include "vp.network.dns" . | nindent 4 }}
    - to: {{- include "vp.network.peers" (list "etcd") | nindent 8 }}
      ports:
        - port: 2379
{{- end }}
{{- end }}

{{/*
Not empty when there are pods that maintain etcd.
*/}}
{{- define "etcd.maintained" -}}
{{- if or .Values.snapshot.enabled .Values.defragmentation.enabled }}yes{{ end -}}
{{- end }}

{{/*
The labels of a pod that maintains etcd. Not etcd's own name: the Service would send clients there.
*/}}
{{- define "etcd.maintenanceLabels" -}}
app.kubernetes.io/name: etcd-maintenance
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{/*
Parameters: root; kind, the end of its name; job, its values; first, containers that run one after the other before the container `last`;
volumes.
*/}}
{{- define "etcd.cronJob" }}
{{- $root := .root }}
---
apiVersion: batch/v1
kind: CronJob
metadata: {{- include "vp.metadata" (dict "root" $root "name" (include "vp.sibling" (dict "root" $root "chart" (printf "etcd-%s" .kind)))) | nindent 2 }}
spec:
  schedule: {{ .job.schedule | quote }}
  timeZone: Etc/UTC
  concurrencyPolicy: Forbid
  startingDeadlineSeconds: 3600
  successfulJobsHistoryLimit: 3
  failedJobsHistoryLimit: 3
  jobTemplate:
    metadata:
      labels: {{- include "vp.labels" $root | nindent 8 }}
    spec:
      backoffLimit: 2
      activeDeadlineSeconds: {{ .job.deadlineSeconds }}
      template:
        metadata:
          labels: {{- include "etcd.maintenanceLabels" $root | nindent 12 }}
        spec:
          restartPolicy: Never
          {{- omit (include "vp.podSpec" $root | fromYaml) "affinity" "topologySpreadConstraints" | toYaml | nindent 10 }}
          {{- range $key, $containers := dict "initContainers" .first "containers" (list .last) }}
          {{- with $containers }}
          {{ $key }}:
            {{- range . }}
            - name: {{ .name }}
              image: {{ .image | default (include "vp.image" (dict "root" $root "image" $root.Values.image)) | quote }}
              imagePullPolicy: {{ .pullPolicy | default $root.Values.image.pullPolicy | quote }}
              securityContext: {{- toYaml $root.Values.securityContext | nindent 16 }}
              command: {{- toYaml .command | nindent 16 }}
              terminationMessagePolicy: FallbackToLogsOnError
              env:
                - name: POD_NAME
                  valueFrom:
                    fieldRef:
                      fieldPath: metadata.name
                {{- with .endpoints }}
                - name: ETCDCTL_ENDPOINTS
                  value: {{ join "," . | quote }}
                # a NetworkPolicy lets a new pod through only once each node has heard of it
                - name: ETCDCTL_DIAL_TIMEOUT
                  value: 15s
                {{- include "etcd.ctlEnv" $root | nindent 16 }}
                {{- end }}
              resources: {{- toYaml $.job.resources | nindent 16 }}
              {{- $mounts := .mounts | default list }}
              {{- if and .endpoints $root.Values.global.tls.enabled }}
              {{- $mounts = concat $mounts (include "vp.tls.volumeMount" $root | fromYamlArray) }}
              {{- end }}
              {{- with $mounts }}
              volumeMounts: {{- toYaml . | nindent 16 }}
              {{- end }}
            {{- end }}
          {{- end }}
          {{- end }}
          {{- $volumes := .volumes }}
          {{- if $root.Values.global.tls.enabled }}
          {{- $volumes = concat $volumes (include "vp.tls.volume" $root | fromYamlArray) }}
          {{- end }}
          {{- with $volumes }}
          volumes: {{- toYaml . | nindent 12 }}
          {{- end }}
{{- end }}

{{/*
What etcdctl is told by the environment: certificates and, with authentication, root's password.
*/}}
{{- define "etcd.ctlEnv" -}}
{{- if .Values.global.tls.enabled }}
- name: ETCDCTL_CACERT
  value: /run/secrets/mtls/ca.crt
- name: ETCDCTL_CERT
  value: /run/secrets/mtls/tls.crt
- name: ETCDCTL_KEY
  value: /run/secrets/mtls/tls.key
{{- end }}
{{- if .Values.global.registry.auth.enabled }}
- name: ETCDCTL_USER
  value: root
- name: ETCDCTL_PASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ include "vp.registry.secretName" . | quote }}
      key: root-password
{{- end }}
{{- end }}
