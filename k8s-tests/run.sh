#!/usr/bin/env bash
# run.sh [faults] [ARGUMENTS]: the tests on a live cluster, or those that take long, with arguments for pytest. The cluster is the one that
# kubectl has selected, if tests may touch it; where kubectl has none, one is made on this machine. The images are built and loaded, under
# the tag `next` as well: what tests upgrade to.
set -euo pipefail
cd "$(dirname "$0")/.."

faults=
if [ "${1:-}" = faults ]; then
  faults=yes
  shift
  set -- -m faults "$@"
fi

build_with_docker() {
  local name
  for name in user gateway; do
    docker build --quiet --file "Dockerfile.$name" --tag "$repository/$name-svc:$version" .
    docker tag "$repository/$name-svc:$version" "$repository/$name-svc:next"
  done
}

selected=$(PYTHONPATH=k8s-tests .venv/bin/python -m support.context)
read -r kind context <<<"$selected"
repository=localhost/video-platform
version=$(<VERSION)
images=("$repository"/{user,gateway}-svc)
case $kind in
  none | local)
    selection=$(k8s-tests/cluster/up.sh)
    eval "$selection"
    k8s-tests/cluster/images.sh
    for image in "${images[@]}"; do ctr images tag --force "$image:$version" "$image:next"; done
    if [ -n "$faults" ]; then
      selection=$(k8s-tests/cluster/docker.sh)
      eval "$selection"
      k8s-tests/cluster/cert-manager.sh
    fi
    ;;
  kind)
    build_with_docker
    kind load docker-image --name "${context#kind-}" "${images[@]/%/:$version}" "${images[@]/%/:next}"
    ;;
  minikube)
    build_with_docker
    for image in "${images[@]}"; do minikube image load "$image:$version" "$image:next"; done
    ;;
  *) [ -n "${K8S_TEST_VALUES:-}" ] || echo "$context is expected to have ${images[*]/%/:$version}, and both with the tag next; a file of values named in K8S_TEST_VALUES can say otherwise." >&2 ;;
esac
command -v helm >/dev/null || { echo "Needs helm on the PATH." >&2 && exit 1; }
exec .venv/bin/python -m pytest k8s-tests/test_*.py --timeout 900 "$@"
