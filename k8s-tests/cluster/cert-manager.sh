#!/usr/bin/env bash
# Adds cert-manager to the cluster that runs: its resource definitions, and its controller, webhook and cainjector as processes beside the
# cluster's own. The issuers are CA and self-signed. The cluster's end is theirs.
source "$(dirname "$0")/settings.sh"
source "$here/services.sh"

[ "$(id -u)" = 0 ] || die "Needs root, as the cluster does."
[ -e "$run/kubeconfig" ] || die "There is no cluster: 'make cluster' first."
alone cert-manager

issuer_is_accepted() {
  kubectl create --dry-run=server --filename - <<<'{apiVersion: cert-manager.io/v1, kind: ClusterIssuer, metadata: {name: probe}, spec: {selfSigned: {}}}'
}

start_cert_manager() {
  local admin=$run/pki/admin.kubeconfig program=$1/cert-manager
  kubectl apply --server-side --filename "$1/crds"
  kubectl wait --for=condition=Established --timeout=30s --filename "$1/crds"
  kubectl apply --filename "$here/config/cert-manager.yaml"
  start cert-manager "$program" controller --kubeconfig="$admin"
  start cert-manager-cainjector "$program" cainjector --kubeconfig="$admin"
  start cert-manager-webhook "$program" webhook --kubeconfig="$admin" --secure-port=10260 --healthz-port=0 --dynamic-serving-dns-names=localhost \
    --dynamic-serving-ca-secret-namespace=cert-manager --dynamic-serving-ca-secret-name=cert-manager-webhook-ca
  await "cert-manager accepts an issuer" 60 issuer_is_accepted
}

folder=$("$here/binaries.sh" cert-manager)
! issuer_is_accepted >/dev/null 2>&1 || exit 0
step "cert-manager" start_cert_manager "$folder"
