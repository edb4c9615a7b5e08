{{/*
Rendered by the chart that is installed, the only one that knows the user service's image, which the sidecar runs: a
subchart cannot see its siblings. The parameter is etcd's own context, with that of the user service, if there is one,
as `userService`.
*/}}
{{- define "etcd.statefulset" -}}
{{- include "vp.workload" (dict "root" . "manifest" (include "etcd.statefulset.ours" .)) -}}
{{- include "etcd.maintenance" . -}}
{{- end }}

{{- define "etcd.statefulset.ours" -}}
{{- $name := include "vp.fullname" . }}
{{- include "etcd.membersCheck" . }}
{{- $auth := .Values.global.registry.auth }}
{{- $tls := .Values.global.tls.enabled }}
{{- $scheme := include "vp.tls.scheme" . }}
apiVersion: apps/v1
kind: StatefulSet
metadata:
  {{- include "vp.metadata" (dict "root" . "annotations" (include "vp.replicas.annotation" (dict "root" . "kind" "StatefulSet") | fromYaml)) | nindent 2 }}
spec:
  replicas: {{ include "vp.replicas" (dict "root" . "kind" "StatefulSet") }}
  serviceName: {{ $name }}-peers
  # One after the other, the first of three members would wait for a quorum that is not let start.
  podManagementPolicy: Parallel
  revisionHistoryLimit: 5
  {{- with .Values.persistentVolumeClaimRetentionPolicy }}
  persistentVolumeClaimRetentionPolicy: {{- toYaml . | nindent 4 }}
  {{- end }}
  selector:
    matchLabels: {{- include "vp.selectorLabels" . | nindent 6 }}
  template:
    metadata:
      labels: {{- include "vp.podLabels" . | nindent 8 }}
      {{- with include "vp.podAnnotations" (dict "root" . "port" 2381) }}{{ nindent 6 . }}{{ end }}
    spec:
      {{- include "vp.podSpec" . | nindent 6 }}
      terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
      {{- if $auth.enabled }}
      initContainers:
        - name: auth
          # A native sidecar: it runs as long as etcd, and is there again when etcd comes back from a lost volume.
          restartPolicy: Always
          {{- $sidecar := include "etcd.sidecar" . | fromYaml }}
          image: {{ $sidecar.image | quote }}
          imagePullPolicy: {{ $sidecar.pullPolicy | quote }}
          securityContext: {{- toYaml .Values.securityContext | nindent 12 }}
          command: [python, -m, etcd_auth]
          env:
            - name: ETCD_ADDRESS
              value: {{ $tls | ternary "https://localhost:2379" "127.0.0.1:2379" }}
            {{- if $tls }}
            {{- include "vp.tls.env" (dict "prefix" "ETCD" "folder" "/run/secrets/mtls" "own" true) | nindent 12 }}
            {{- end }}
            - name: REGISTRY_PREFIX
              value: {{ .Values.global.registry.prefix | quote }}
            - name: ROOT_PASSWORD_FILE
              value: /run/secrets/etcd/root-password
            - name: REGISTRAR_USERNAME
              value: {{ $auth.registrar | quote }}
            - name: REGISTRAR_PASSWORD_FILE
              value: /run/secrets/etcd/registrar-password
            - name: RESOLVER_USERNAME
              value: {{ $auth.resolver | quote }}
            - name: RESOLVER_PASSWORD_FILE
              value: /run/secrets/etcd/resolver-password
            - name: INTERVAL
              value: {{ .Values.auth.intervalSeconds | quote }}
          # The pod is ready, and clients reach it, once authentication is on.
          readinessProbe:
            exec:
              command: [test, -e, /tmp/auth-is-on]
            periodSeconds: 2
          resources: {{- toYaml .Values.auth.resources | nindent 12 }}
          volumeMounts:
            - name: passwords
              mountPath: /run/secrets/etcd
              readOnly: true
            {{- with include "vp.tls.volumeMount" . }}{{ nindent 12 . }}{{ end }}
            - name: tmp
              mountPath: /tmp
      {{- end }}
      containers:
        - name: etcd
          image: {{ include "vp.image" (dict "root" . "image" .Values.image) | quote }}
          imagePullPolicy: {{ .Values.image.pullPolicy | quote }}
          securityContext: {{- toYaml .Values.securityContext | nindent 12 }}
          command: [/usr/local/bin/etcd]
          args:
            - --name=$(POD_NAME)
            - --data-dir=/var/lib/etcd/data
            - --listen-client-urls={{ $scheme }}://0.0.0.0:2379
            # Clients reach members that are ready: with authentication, those on which it is turned on.
            - --advertise-client-urls={{ $scheme }}://{{ $name }}:2379
            - --listen-peer-urls={{ $scheme }}://0.0.0.0:2380
            - --initial-advertise-peer-urls={{ $scheme }}://$(POD_NAME).{{ $name }}-peers:2380
            - --initial-cluster={{ include "etcd.initialCluster" . }}
            - --initial-cluster-state={{ .Values.initialClusterState }}
            - --initial-cluster-token={{ .Release.Namespace }}-{{ $name }}
            {{- if $tls }}
            {{- range list "" "peer-" }}
            - --{{ . }}cert-file=/run/secrets/mtls/tls.crt
            - --{{ . }}key-file=/run/secrets/mtls/tls.key
            - --{{ . }}trusted-ca-file=/run/secrets/mtls/ca.crt
            - --{{ . }}client-cert-auth
            {{- end }}
            # A certificate that the same CA has signed for another purpose is refused.
            - --client-cert-allowed-hostname=etcd-client
            - --peer-cert-allowed-hostname={{ $name }}
            # The name says who a peer is. Where it comes from would be looked up in DNS, which lags behind a new pod.
            - --peer-skip-client-san-verification
            {{- end }}
            # Probes and Prometheus ask here: nothing on this port can be written, and it never wants a password.
            - --listen-metrics-urls=http://0.0.0.0:2381
            # It would let any web page write, by way of the browser of somebody who can reach etcd.
            - --enable-grpc-gateway=false
            - --auto-compaction-mode={{ .Values.autoCompaction.mode }}
            - --auto-compaction-retention={{ .Values.autoCompaction.retention }}
            - --quota-backend-bytes={{ int64 .Values.quotaBackendBytes }}
            - --log-level={{ .Values.logLevel }}
            {{- range .Values.extraArgs }}
            - {{ . | quote }}
            {{- end }}
          env:
            - name: POD_NAME
              valueFrom:
                fieldRef:
                  fieldPath: metadata.name
            {{- if $tls }}
            # etcdctl in this container needs no argument for TLS.
            - name: ETCDCTL_ENDPOINTS
              value: https://localhost:2379
            - name: ETCDCTL_CACERT
              value: /run/secrets/mtls/ca.crt
            - name: ETCDCTL_CERT
              value: /run/secrets/mtls/tls.crt
            - name: ETCDCTL_KEY
              value: /run/secrets/mtls/tls.key
            {{- end }}
            {{- with .Values.extraEnv }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
          {{- with .Values.extraEnvFrom }}
          envFrom: {{- toYaml . | nindent 12 }}
          {{- end }}
          ports:
            - name: client
              containerPort: 2379
            - name: peer
              containerPort: 2380
            - name: metrics
              containerPort: 2381
          {{- $livez := dict "httpGet" (dict "port" 2381 "path" "/livez") }}
          {{- $readyz := dict "httpGet" (dict "port" 2381 "path" "/readyz") }}
          startupProbe: {{- include "vp.probe" (dict "handler" $readyz "timings" .Values.startupProbe) | nindent 12 }}
          livenessProbe: {{- include "vp.probe" (dict "handler" $livez "timings" .Values.livenessProbe) | nindent 12 }}
          readinessProbe: {{- include "vp.probe" (dict "handler" $readyz "timings" .Values.readinessProbe) | nindent 12 }}
          resources: {{- toYaml .Values.resources | nindent 12 }}
          volumeMounts:
            - name: data
              mountPath: /var/lib/etcd
            {{- with include "vp.tls.volumeMount" . }}{{ nindent 12 . }}{{ end }}
            {{- with .Values.extraVolumeMounts }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
      {{- if or .Values.extraVolumes (not .Values.persistence.enabled) $auth.enabled $tls }}
      volumes:
        {{- with include "vp.tls.volume" . }}{{ nindent 8 . }}{{ end }}
        {{- if $auth.enabled }}
        - name: passwords
          secret:
            secretName: {{ include "vp.registry.secretName" . | quote }}
            defaultMode: 0440
            items:
              {{- range list "root" "registrar" "resolver" }}
              - key: {{ . }}-password
                path: {{ . }}-password
              {{- end }}
        - name: tmp
          emptyDir:
            sizeLimit: 16Mi
        {{- end }}
        {{- if not .Values.persistence.enabled }}
        - name: data
          emptyDir: {}
        {{- end }}
        {{- with .Values.extraVolumes }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- end }}
  {{- with .Values.persistence }}
  {{- if .enabled }}
  volumeClaimTemplates:
    - apiVersion: v1
      kind: PersistentVolumeClaim
      metadata:
        name: data
        labels: {{- include "vp.selectorLabels" $ | nindent 10 }}
        {{- with .annotations }}
        annotations: {{- toYaml . | nindent 10 }}
        {{- end }}
      spec:
        accessModes: [ReadWriteOnce]
        {{- with include "vp.storageClass" . }}{{ nindent 8 . }}{{ end }}
        resources:
          requests:
            storage: {{ .size | quote }}
  {{- end }}
  {{- end }}
{{- end }}

{{/*
The image of the sidecar: the one that is given, else the user service's, else the one that this version was built as.
*/}}
{{- define "etcd.sidecar" -}}
{{- $image := .Values.auth.image -}}
{{- if and .userService (not $image.repository) -}}
image: {{ include "vp.image" (dict "root" .userService "image" .userService.Values.image) | quote }}
pullPolicy: {{ .userService.Values.image.pullPolicy | quote }}
{{- else -}}
{{- $repository := $image.repository | default "localhost/video-platform/user-svc" -}}
{{- $own := dict "repository" $repository "tag" ($image.tag | default .Chart.Version) "digest" $image.digest -}}
image: {{ include "vp.image" (dict "root" . "image" $own) | quote }}
pullPolicy: {{ $image.pullPolicy | quote }}
{{- end -}}
{{- end }}
