#!/usr/bin/env bash
# binaries.sh NAME...: builds the Go modules of tools/ into the cache unless they are there, and prints the folder of each.
source "$(dirname "$0")/settings.sh"

kubernetes=$(awk '$1 == "k8s.io/kubernetes" { print $2 }' "$here/tools/kubernetes/go.mod")
minor=${kubernetes#v1.}
minor=${minor%%.*}
helm=$(awk '$1 == "helm.sh/helm/v3" { print $2 }' "$here/tools/helm/go.mod")
helm_minor=$(awk '$1 == "k8s.io/client-go" { split($2, part, "."); print part[2] }' "$here/tools/helm/go.mod")

# Go modules carry no release information: it is given to the linker, as the projects' own releases do.
flags_of() {
  case $1 in
    kubernetes)
      for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
        printf -- '-X %s.gitVersion=%s -X %s.gitMajor=1 -X %s.gitMinor=%s ' "$package" "$kubernetes" "$package" "$package" "$minor"
      done
      ;;
    helm)
      printf -- '-X helm.sh/helm/v3/internal/version.version=%s ' "$helm"
      for package in helm.sh/helm/v3/pkg/lint/rules helm.sh/helm/v3/pkg/chartutil; do
        printf -- '-X %s.k8sVersionMajor=1 -X %s.k8sVersionMinor=%s ' "$package" "$package" "$helm_minor"
      done
      ;;
    helm4) printf -- '-X helm.sh/helm/v4/internal/version.version=%s ' "$(awk '$1 == "helm.sh/helm/v4" { print $2 }' "$here/tools/helm4/go.mod")" ;;
    skaffold)
      printf -- '-X github.com/GoogleContainerTools/skaffold/v2/pkg/skaffold/version.version=%s ' \
        "$(awk '$1 == "github.com/GoogleContainerTools/skaffold/v2" { print $2 }' "$here/tools/skaffold/go.mod")"
      ;;
    prometheus) printf -- '-X github.com/prometheus/common/version.Version=%s ' "$(sed 's/.*:v//' "$here/images/prometheus/names")" ;;
  esac
}

tags_of() {
  # Discovery in two dozen clouds is most of Prometheus.
  [ "$1" != prometheus ] || echo netgo,remove_all_sd,enable_kubernetes_sd
}

build() {
  local name=$1 flags=$2 tags=$3 to=$4 target=.
  cd "$here/tools/$name"
  rm -rf "$to.new"
  mkdir -p "$to.new"
  [ -e main.go ] || target=tool
  # These go into images without a C library.
  case $name in etcd | etcd-* | prometheus) export CGO_ENABLED=0 ;; esac
  GOFLAGS=-buildvcs=false nice -n 19 go build -tags "$tags" -ldflags "-s -w $flags" -o "$to.new/" "$target"
  case $name in
    kubernetes) for command in kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl; do ln -s kubernetes "$to.new/$command"; done ;;
    etcd | etcd-*) mv "$to.new/server" "$to.new/etcd" ;;
    helm4) mv "$to.new/helm" "$to.new/helm4" ;; # beside the other on the PATH
    cert-manager)
      mv "$to.new/cluster" "$to.new/cert-manager"
      cp --recursive --no-preserve=mode "$(go list -m -f '{{.Dir}}' github.com/cert-manager/cert-manager)/deploy/crds" "$to.new/"
      ;;
  esac
  rm -rf "$to"
  mv "$to.new" "$to"
}

# Go puts itself on the PATH here: the machine's, which fetches a newer one for a module that asks for it (from 1.21 on), or the locked one.
find_go() {
  local lock=$here/../../requirements/go.txt environment there
  there=$(GOTOOLCHAIN=local go env GOVERSION 2>/dev/null || true)
  if printf '%s\n' go1.21 "${there:-none}" | sort --version-sort --check=quiet && [ -n "$there" ]; then return; fi
  environment=$cache/go-$(key_of "$lock")
  if [ ! -d "$environment" ]; then
    python3 -c 'import ensurepip, venv' 2>/dev/null || die "Needs Go 1.26 or later, or Python's venv module to install one."
    rm -rf "$environment.new"
    python3 -m venv "$environment.new"
    step "Go installed" "$environment.new/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$lock"
    mv "$environment.new" "$environment"
  fi
  PATH=$(echo "$environment"/lib/python*/site-packages/go/bin):$PATH
}

mkdir -p "$cache/bin"
for name; do
  flags=$(flags_of "$name")
  tags=$(tags_of "$name")
  to=$cache/bin/$name-$(key_of "$here/tools/$name"/* <(echo "$flags$tags"))
  if [ ! -d "$to" ]; then
    alone build
    find_go
    [ -d "$to" ] || step "$name built from the Go module registry" build "$name" "$flags" "$tags" "$to"
  fi
  echo "$to"
done
