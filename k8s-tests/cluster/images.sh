#!/usr/bin/env bash
# images.sh [TAG [TARGET]]: builds Dockerfile.user and Dockerfile.gateway as localhost/video-platform/{user-svc,gateway-svc}:TAG on the
# stand-in for their base image, prints their sizes, and loads them into the cluster if it runs. TAG is the project's version unless given.
source "$(dirname "$0")/settings.sh"

[ "$(id -u)" = 0 ] || die "Needs root: images are built with chroot."
repository=$(cd "$here/../.." && pwd)
tag=${1:-$(sed -n 's/^version = "\(.*\)"/\1/p' "$repository/pyproject.toml")}
target=${2:-}
base=docker.io/library/python:3.13-slim

# What this machine needs to reach its package index must not get into an image: it is mounted while the build runs, over a folder and a
# file that the base image has, since a build leaves behind what it had to make for a mount.
index_access() {
  local bundle=/etc/ssl/certs/ca-certificates.crt
  mkdir -p "$work/home/.config/pip"
  {
    echo '[global]'
    if [ -e "$bundle" ]; then echo "cert = $bundle"; fi
    { python3 -m pip config list 2>/dev/null || true; } |
      sed -nE "s/^(global|:env:)\.(index-url|extra-index-url|trusted-host|proxy)='(.*)'$/\2 = \3/p"
  } >"$work/home/.config/pip/pip.conf"
  volumes=(--volume "$work/home:/root")
  if [ -e "$bundle" ]; then volumes+=(--volume "$bundle:$bundle:ro"); fi
}

build() {
  builder build --pull-never --isolation chroot --layers --force-rm "${volumes[@]}" ${target:+--target "$target"} \
    --build-arg REVISION="$(git -C "$repository" rev-parse HEAD 2>/dev/null || true)" \
    --tag "$2" --file "$repository/$1" "$repository"
}

# What a registry would send, and what a node unpacks.
sizes() {
  builder push --quiet "$1" "oci:$work/oci"
  python3 - "$work/oci" "$1" <<'PY'
import gzip
import json
import pathlib
import sys

blobs = pathlib.Path(sys.argv[1], "blobs/sha256")
index = json.loads(pathlib.Path(sys.argv[1], "index.json").read_text())
layers = json.loads((blobs / index["manifests"][-1]["digest"][7:]).read_text())["layers"]
unpacked = sum(len(gzip.decompress((blobs / layer["digest"][7:]).read_bytes())) for layer in layers)
print(f"{sys.argv[2]}: {sum(layer['size'] for layer in layers) / 1e6:.1f} MB compressed, {unpacked / 1e6:.1f} MB unpacked")
PY
  rm -rf "$work/oci"
}

load() {
  builder push --quiet "$1" "docker-archive:$work/image.tar:$1"
  "$run/bin/ctr" images import "$work/image.tar"
  rm "$work/image.tar"
}

"$here/packages.sh"
archive=$("$here/base-images.sh" python)
alone images
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# What an interrupted build left.
builder rm --all >/dev/null
builder pull --quiet "docker-archive:$archive" >/dev/null
index_access
for name in user gateway; do
  image=localhost/video-platform/$name-svc:$tag
  step "$image built" build "Dockerfile.$name" "$image"
  sizes "$image"
  [ ! -e "$run/bin/ctr" ] || step "$image loaded" load "$image"
done
