{{/*
How to reach the gateway that was just installed; the umbrella prints it, too.
*/}}
{{- define "gateway-svc.notes" -}}
{{- $namespace := .Release.Namespace -}}
{{- $name := include "vp.fullname" . -}}
The gateway, once its pods are ready:

  kubectl --namespace {{ $namespace }} rollout status deployment/{{ $name }}
  helm --namespace {{ $namespace }} test {{ .Release.Name }}
{{ if .Values.ingress.enabled }}
{{- $scheme := ternary "https" "http" (gt (len .Values.ingress.tls) 0) }}
  GATEWAY={{ $scheme }}://{{ first (.Values.ingress.hosts | default (list (printf "$(kubectl --namespace %s get ingress %s --output jsonpath='{.status.loadBalancer.ingress[0].ip}{.status.loadBalancer.ingress[0].hostname}')" $namespace $name))) }}{{ trimSuffix "/" .Values.ingress.path }}
{{- else if eq .Values.service.type "NodePort" }}
  GATEWAY=http://$(kubectl get nodes --output jsonpath='{.items[0].status.addresses[0].address}'):$(kubectl --namespace {{ $namespace }} get service {{ $name }} --output jsonpath='{.spec.ports[0].nodePort}')
{{- else if eq .Values.service.type "LoadBalancer" }}
  GATEWAY=http://$(kubectl --namespace {{ $namespace }} get service {{ $name }} --output jsonpath='{.status.loadBalancer.ingress[0].ip}{.status.loadBalancer.ingress[0].hostname}'):{{ .Values.service.port }}
{{- else }}
  kubectl --namespace {{ $namespace }} port-forward service/{{ $name }} 8080:{{ .Values.service.port }} &
  GATEWAY=http://127.0.0.1:8080
{{- end }}

  curl $GATEWAY/ping
  curl $GATEWAY/api/register -H 'Content-Type: application/json' -d '{"username":"testuser123","password":"password123"}'
  curl $GATEWAY/api/login -H 'Content-Type: application/json' -d '{"username":"testuser123","password":"password123"}'
{{- end }}
