#!/usr/bin/env bash
# Adds what skaffold needs to the cluster that runs: a Docker daemon with the base image, a registry that the daemon pushes to and the node
# pulls from under one name, and skaffold itself. Prints the line that selects them. The cluster's end is theirs.
source "$(dirname "$0")/settings.sh"
source "$here/index-access.sh"
source "$here/services.sh"

[ "$(id -u)" = 0 ] || die "Needs root, as the cluster does."
[ -e "$run/kubeconfig" ] || die "There is no cluster: 'make cluster' first."
alone docker

select_line() { echo "export DOCKER_HOST=unix://$run/docker.sock REGISTRY=$(cat "$run/registry-address")"; }
docker() { command docker --host "unix://$run/docker.sock" "$@"; }

start_registry() {
  local port=$1
  mkdir "$run/registry"
  cat >"$run/registry.yml" <<YAML
version: 0.1
log: {level: warn, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $run/registry}, delete: {enabled: true}}
http: {addr: "127.0.0.1:$port"}
YAML
  start registry "$run/bin/registry" serve "$run/registry.yml"
  bridge registry "$port" "$port"
  await "the registry answers" 30 curl --fail --silent "http://127.0.0.1:$port/v2/"
}

start_docker() {
  # Images are built in the machine's own network, as a build needs its package index; no container ever runs here.
  start_outside dockerd dockerd --host "unix://$run/docker.sock" --data-root "$run/docker/data" --exec-root "$run/docker/exec" \
    --pidfile "$run/docker.pid" --iptables=false --bridge=none --oom-score-adjust=0
  await "the Docker daemon answers" 60 docker version
}

load_base() {
  local work tag
  work=$(mktemp -d)
  tag=$(cat "$here/images/python/names")
  docker load --input "$1"
  # A docker build mounts nothing: the way to the package index is in this daemon's copy of the base image.
  index_access "$work/home"
  printf 'FROM %s\nCOPY home /root\n' "$tag" >"$work/Dockerfile"
  [ ! -e "$bundle" ] || { cp "$bundle" "$work/bundle" && echo "COPY bundle $bundle" >>"$work/Dockerfile"; }
  DOCKER_BUILDKIT=0 docker build --tag "$tag" "$work"
  rm -rf "$work"
}

if [ -e "$run/registry-address" ]; then
  select_line
  exit
fi
"$here/packages.sh" docker
paths=$("$here/binaries.sh" skaffold registry)
archive=$("$here/base-images.sh" python)
for folder in $paths; do ln -sf "$folder"/* "$run/bin/"; done
port=$(free_port 5000)
step "Registry" start_registry "$port"
step "Docker daemon" start_docker
step "Base image" load_base "$archive"
echo "localhost:$port" >"$run/registry-address"
select_line
