{{/*
A secret value that is made once and then kept. Parameters:
  root, secret, key   where it is kept
  given               the value that an operator gave; it wins
  setting             the value that names a Secret of the operator's, for the sentences
  lost                a sentence when something of the release still depends on the Secret, otherwise empty
A real cluster shows itself by `v1/Secret`, which the built-in list of `helm template` has not. Looking up the
namespace would not do: it need not exist yet.
*/}}
{{- define "vp.secret.value" -}}
{{- $live := (lookup "v1" "Secret" .root.Release.Namespace .secret).data | default dict -}}
{{- if .given -}}
{{- .given -}}
{{- else if hasKey $live .key -}}
{{- get $live .key | b64dec -}}
{{- else if not (.root.Capabilities.APIVersions.Has "v1/Secret") -}}
{{- fail (printf "no cluster to look for the Secret %s in: a password made up at each rendering would lock everybody out. Name a Secret in %s, as ci/values.yaml does." .secret .setting) -}}
{{- else if .lost -}}
{{- fail (printf "the Secret %s has no key %s any more, and %s. Restore the Secret, or name one that holds the value in %s." .secret .key .lost .setting) -}}
{{- else -}}
{{- randAlphaNum 40 -}}
{{- end -}}
{{- end }}

{{/*
Not empty when the live workload mounts the Secret. Parameters: root, kind, workload, secret.
*/}}
{{- define "vp.secret.used" -}}
{{- $live := lookup "apps/v1" .kind .root.Release.Namespace .workload -}}
{{- if $live -}}
{{- range $live.spec.template.spec.volumes -}}
{{- if and .secret (eq .secret.secretName $.secret) -}}
{{- printf "the running %s %s depends on it" $.kind $.workload -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "vp.secret.metadata" -}}
name: {{ .name }}
namespace: {{ .root.Release.Namespace }}
labels: {{- include "vp.labels" .root | nindent 2 }}
annotations:
  # What it opens outlives the release: the volumes and the tokens that clients hold.
  helm.sh/resource-policy: keep
{{- end }}
