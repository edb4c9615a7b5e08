{{/*
TLS between the parts of the platform: each chart has one certificate, for the connections that it takes and for those
that it makes. Its Secret is the operator's, cert-manager's, or generated. No certificate has a common name: etcd would
take it for the name of a user.
*/}}

{{- define "vp.tls.scheme" -}}
{{- ternary "https" "http" .Values.global.tls.enabled -}}
{{- end }}

{{- define "vp.tls.secretName" -}}
{{- .Values.tls.existingSecret | default (printf "%s-mtls" (include "vp.fullname" .)) -}}
{{- end }}

{{- define "vp.tls.caName" -}}
{{- .Values.global.tls.caSecret | default (include "vp.sibling" (dict "root" . "chart" "mtls-ca")) -}}
{{- end }}

{{/*
The DNS names of the chart's certificate, as a list. `etcd-client` is what etcd knows its clients by: MySQL has no
business there.
*/}}
{{- define "vp.tls.names" -}}
{{- $service := include "vp.fullname" . -}}
{{- $hosts := list $service -}}
{{- if eq .Chart.Name "etcd" -}}
{{- $hosts = append $hosts (printf "*.%s-peers" $service) -}}
{{- end -}}
{{- $names := list -}}
{{- if eq .Chart.Name "gateway-svc" -}}
{{- $names = list "gateway-svc" -}}
{{- else -}}
{{- range $hosts -}}
{{- $names = concat $names (list . (printf "%s.%s" . $.Release.Namespace) (printf "%s.%s.svc" . $.Release.Namespace)) -}}
{{- end -}}
{{- $names = append $names (eq .Chart.Name "user-svc" | ternary "user-svc" "localhost") -}}
{{- end -}}
{{- if ne .Chart.Name "mysql" -}}
{{- $names = append $names "etcd-client" -}}
{{- end -}}
{{- uniq $names | toYaml -}}
{{- end }}

{{- define "vp.tls.volume" -}}
{{- if .Values.global.tls.enabled -}}
- name: mtls
  secret:
    secretName: {{ include "vp.tls.secretName" . | quote }}
    defaultMode: 0440
    items:
      {{- include "vp.tls.items" (list "tls.crt" "tls.key" "ca.crt") | nindent 6 }}
{{- end }}
{{- end }}

{{- define "vp.tls.items" -}}
{{- range $number, $key := . -}}
{{- if $number }}
{{ end -}}
- key: {{ $key }}
  path: {{ $key }}
{{- end -}}
{{- end }}

{{- define "vp.tls.volumeMount" -}}
{{- if .Values.global.tls.enabled -}}
- name: mtls
  mountPath: /run/secrets/mtls
  readOnly: true
{{- end }}
{{- end }}

{{/*
Variables that name the files of a certificate. Parameters: prefix, folder, own (whether there is a certificate beside
the CA).
*/}}
{{- define "vp.tls.env" -}}
- name: {{ .prefix }}_CA_FILE
  value: {{ .folder }}/ca.crt
{{- if .own }}
- name: {{ .prefix }}_CERT_FILE
  value: {{ .folder }}/tls.crt
- name: {{ .prefix }}_KEY_FILE
  value: {{ .folder }}/tls.key
{{- end }}
{{- end }}

{{/*
The Secrets of a release's certificates, or cert-manager's Certificates. Rendered by the chart that is installed, for
itself and the charts below it: what is generated must be signed by one CA, which no other chart would see. Made by
hooks, as `vp.secret` makes a Secret.
*/}}
{{- define "vp.tls.secrets" -}}
{{- $root := . -}}
{{- $missing := list -}}
{{- $live := "" -}}
{{- range include "vp.tls.charts" . | fromYamlArray -}}
{{- $chart := eq . $root.Chart.Name | ternary $root (index $root.Subcharts .) -}}
{{- if $root.Values.global.tls.certManager.issuerRef }}
{{ include "vp.tls.certificate" $chart }}
{{- else -}}
{{- $name := include "vp.tls.secretName" $chart -}}
{{- $secret := lookup "v1" "Secret" $root.Release.Namespace $name -}}
{{- if $secret -}}
{{- $live = $name -}}
{{- range list "tls.crt" "tls.key" "ca.crt" -}}
{{- if not (hasKey ($secret.data | default dict) .) -}}
{{- fail (printf "the Secret %s has no key %s: add it, or delete the Secret to have it made." $name .) -}}
{{- end -}}
{{- end -}}
{{- else -}}
{{- $missing = append $missing $chart -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if $missing -}}
{{- $ca := include "vp.tls.ca" (dict "root" $root "first" (first $missing) "live" $live) | fromYaml -}}
{{- if $ca.new -}}
{{- $data := dict "tls.crt" $ca.cert "tls.key" $ca.key "ca.crt" $ca.bundle -}}
{{ include "vp.tls.secret" (dict "root" $root "name" (include "vp.tls.caName" $root) "component" "mtls-ca" "data" $data) }}
{{- end -}}
{{- $signer := buildCustomCert $ca.cert $ca.key -}}
{{- range $missing -}}
{{- $leaf := include "vp.tls.leaf" (dict "names" (include "vp.tls.names" . | fromYamlArray) "ca" $signer) | fromYaml -}}
{{- $data := dict "tls.crt" $leaf.cert "tls.key" $leaf.key "ca.crt" $ca.bundle -}}
{{ include "vp.tls.secret" (dict "root" . "name" (include "vp.tls.secretName" .) "component" "mtls" "data" $data) }}
{{- end -}}
{{- end -}}
{{- end }}

{{/*
The charts of the release whose certificates no Secret of the operator's holds, as a list of names.
*/}}
{{- define "vp.tls.charts" -}}
{{- $names := list -}}
{{- if .Values.global.tls.enabled -}}
{{- range list "gateway-svc" "user-svc" "etcd" "mysql" -}}
{{- with eq . $.Chart.Name | ternary $ (index $.Subcharts .) -}}
{{- if not .Values.tls.existingSecret -}}
{{- $names = append $names .Chart.Name -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $names -}}
{{- end }}

{{/*
The names of the Secrets that are generated, as a list.
*/}}
{{- define "vp.tls.kept" -}}
{{- $names := list -}}
{{- if not .Values.global.tls.certManager.issuerRef -}}
{{- range include "vp.tls.charts" . | fromYamlArray -}}
{{- $names = append $names (include "vp.tls.secretName" (eq . $.Chart.Name | ternary $ (index $.Subcharts .))) -}}
{{- end -}}
{{- if and $names (not .Values.global.tls.caSecret) -}}
{{- $names = append $names (include "vp.tls.caName" .) -}}
{{- end -}}
{{- end -}}
{{- toYaml $names -}}
{{- end }}

{{/*
The CA that signs what is generated, as cert, key, and bundle (what is trusted), in base64; `new` when it is made now.
Parameters: root; first, the context of a chart that needs a certificate; live, the name of a Secret that has one.
*/}}
{{- define "vp.tls.ca" -}}
{{- $root := .root -}}
{{- $namespace := $root.Release.Namespace -}}
{{- $name := include "vp.tls.caName" $root -}}
{{- $secret := lookup "v1" "Secret" $namespace $name -}}
{{- if not (include "vp.cluster" $root) -}}
{{- fail (printf "no cluster to look for the Secret %s in: certificates of another CA at each rendering would lock everybody out. Name cert-manager's issuer in global.tls.certManager.issuerRef, or a Secret in tls.existingSecret of each chart: docs/tls-charts.md has their keys and names." (include "vp.tls.secretName" .first)) -}}
{{- else if $secret -}}
{{- $data := $secret.data | default dict -}}
{{- range list "tls.crt" "tls.key" -}}
{{- if not (hasKey $data .) -}}
{{- fail (printf "the Secret %s has no key %s, and a certificate is to be signed: add it." $name .) -}}
{{- end -}}
{{- end -}}
{{- dict "cert" (get $data "tls.crt") "key" (get $data "tls.key") "bundle" (get $data "ca.crt" | default (get $data "tls.crt")) | toYaml -}}
{{- else if $root.Values.global.tls.caSecret -}}
{{- fail (printf "global.tls.caSecret names the Secret %s, and the namespace %s has none of that name: the release that was installed first makes it, as RELEASE-mtls-ca." $name $namespace) -}}
{{- else if .live -}}
{{- fail (printf "the Secret %s is gone, and its CA signed what the Secret %s holds. Restore it, or have all certificates generated again: docs/tls-charts.md has the steps under 'A new CA'." $name .live) -}}
{{- else -}}
{{- if has $root.Chart.Name (list "user-svc" "gateway-svc") -}}
{{- range (lookup "v1" "Secret" $namespace "").items -}}
{{- if eq "mtls-ca" (dig "metadata" "labels" "app.kubernetes.io/component" "" .) -}}
{{- fail (printf "another release has made the CA %s, and peers of two CAs refuse each other: set global.tls.caSecret=%s, or name a CA of your own there." .metadata.name .metadata.name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- include "vp.tls.newCA" $name -}}
{{- end -}}
{{- end }}

{{- define "vp.tls.newCA" -}}
{{- $made := genCAWithKey . 3650 (genPrivateKey "ecdsa") -}}
{{- dict "new" true "cert" ($made.Cert | b64enc) "key" ($made.Key | b64enc) "bundle" ($made.Cert | b64enc) | toYaml -}}
{{- end }}

{{/*
A certificate for ten years and its key, in base64. Parameters: names, ca.
*/}}
{{- define "vp.tls.leaf" -}}
{{- $made := genSignedCertWithKey "" nil .names 3650 .ca (genPrivateKey "ecdsa") -}}
{{- dict "cert" ($made.Cert | b64enc) "key" ($made.Key | b64enc) | toYaml -}}
{{- end }}

{{/*
Parameters: root, name, component, data.
*/}}
{{- define "vp.tls.secret" }}
---
apiVersion: v1
kind: Secret
metadata:
  {{- $labels := dict "app.kubernetes.io/component" .component }}
  {{- include "vp.metadata" (dict "root" .root "name" .name "labels" $labels "annotations" (include "vp.onceHook" . | fromYaml)) | nindent 2 }}
type: kubernetes.io/tls
data: {{- toYaml .data | nindent 2 }}
{{- end }}

{{- define "vp.tls.certificate" -}}
{{- $manager := .Values.global.tls.certManager -}}
---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {{- include "vp.metadata" (dict "root" . "name" (include "vp.tls.secretName" .)) | nindent 2 }}
spec:
  secretName: {{ include "vp.tls.secretName" . | quote }}
  secretTemplate:
    labels: {{- include "vp.selectorLabels" . | nindent 6 }}
  issuerRef: {{- toYaml $manager.issuerRef | nindent 4 }}
  dnsNames: {{- include "vp.tls.names" . | nindent 4 }}
  usages: [digital signature, key encipherment, server auth, client auth]
  privateKey:
    algorithm: ECDSA
    size: 256
    rotationPolicy: Always
  duration: {{ $manager.duration | quote }}
  renewBefore: {{ $manager.renewBefore | quote }}
{{- end }}

{{/*
What the notes of an installation say of unencrypted traffic.
*/}}
{{- define "vp.tls.notes" -}}
{{- if not .Values.global.tls.enabled -}}
Traffic between gateway, user service, etcd and MySQL is not encrypted: global.tls.enabled=true encrypts it (docs/tls-charts.md).
{{- end -}}
{{- end }}
