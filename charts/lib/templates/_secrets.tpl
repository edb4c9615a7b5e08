{{/*
A Secret that is generated once. It is a hook and so stands in no manifest: an upgrade or a rollback would write what is in
one over a key that was rotated since. It is rendered only while the cluster has no such Secret. Parameters:
  root, name
  values   a list of dicts: key, given (an operator's value, or empty for a random one), setting (that of `given`)
  setting  the value that names a Secret of the operator's, for the messages
  lost     why a new Secret would not do in place of one that is gone; otherwise empty
  change   what to do in place of changing a given value
*/}}
{{- define "vp.secret" -}}
{{- $namespace := .root.Release.Namespace -}}
{{- $live := lookup "v1" "Secret" $namespace .name -}}
{{- if $live -}}
{{- $data := $live.data | default dict -}}
{{- range .values -}}
{{- if not (or .given (hasKey $data .key)) -}}
{{- fail (printf "the Secret %s has no key %s: add it, or name a Secret that has it in %s." $.name .key $.setting) -}}
{{- else if and .given (ne .given (get $data .key | b64dec)) -}}
{{- fail (printf "%s is not what the Secret %s holds as %s, and the chart writes a Secret only once: leave the setting out, and %s." .setting $.name .key $.change) -}}
{{- end -}}
{{- end -}}
{{- else if not (include "vp.cluster" .root) -}}
{{- fail (printf "no cluster to look for the Secret %s in: a password generated at each rendering would lock everybody out. Name a Secret in %s: docs/gitops.md has the values." .name .setting) -}}
{{- else if .lost -}}
{{- fail (printf "the Secret %s is gone, and %s. Restore it, or name one that holds its keys in %s." .name .lost .setting) -}}
{{- else -}}
apiVersion: v1
kind: Secret
metadata: {{- include "vp.metadata" (dict "root" .root "name" .name "annotations" (include "vp.onceHook" . | fromYaml)) | nindent 2 }}
type: Opaque
data:
  {{- range .values }}
  {{ .key }}: {{ .given | default (randAlphaNum 40) | b64enc }}
  {{- end }}
{{- end -}}
{{- end }}

{{/*
The annotations of what is generated once.
*/}}
{{- define "vp.onceHook" -}}
helm.sh/hook: pre-install,pre-upgrade
# The default would delete an object of this name first.
helm.sh/hook-delete-policy: hook-failed
{{- end }}

{{/*
Not empty when there is a cluster to look things up in. A cluster answers with a list, even an empty one, and even for a
namespace that is yet to be created; rendering without one answers nothing, whatever API versions it was told. Helm
keeps its releases in Secrets of this namespace and lists them itself, so the installer has that right.
*/}}
{{- define "vp.cluster" -}}
{{- with lookup "v1" "Secret" .Release.Namespace "" }}{{ .kind }}{{ end -}}
{{- end }}

{{/*
Not empty when the live workload mounts the Secret. Parameters: root, kind, workload, secret.
*/}}
{{- define "vp.secret.used" -}}
{{- $live := lookup "apps/v1" .kind .root.Release.Namespace .workload -}}
{{- if $live -}}
{{- $used := list -}}
{{- range $live.spec.template.spec.volumes -}}
{{- with .secret }}{{ $used = append $used .secretName }}{{ end -}}
{{- range (.projected | default dict).sources }}{{ with .secret }}{{ $used = append $used .name }}{{ end }}{{ end -}}
{{- end -}}
{{- if has .secret $used -}}
{{- printf "the running %s %s depends on it" .kind .workload -}}
{{- end -}}
{{- end -}}
{{- end }}
