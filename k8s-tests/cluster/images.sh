#!/usr/bin/env bash
# images.sh [TAG [TARGET]]: builds Dockerfile.user and Dockerfile.gateway as localhost/video-platform/{user-svc,gateway-svc}:TAG on the
# stand-in for their base image, prints their sizes, and loads them into the cluster if it runs. TAG is the project's version unless given.
source "$(dirname "$0")/settings.sh"
source "$here/index-access.sh"

[ "$(id -u)" = 0 ] || die "Needs root: images are built with chroot."
repository=$(cd "$here/../.." && pwd)
tag=${1:-$(<"$repository/VERSION")}
target=${2:-}

build() {
  builder build --pull-never --isolation chroot --layers --force-rm "${volumes[@]}" ${target:+--target "$target"} \
    --build-arg BASE="$(head -1 "$here/images/python/names")" \
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
index_access "$work/home"
# Over a folder and a file that the base image has: a build leaves behind what it has to make for a mount.
volumes=(--volume "$work/home:/root")
if [ -e "$bundle" ]; then volumes+=(--volume "$bundle:$bundle:ro"); fi
for name in user gateway; do
  image=localhost/video-platform/$name-svc:$tag
  step "$image built" build "Dockerfile.$name" "$image"
  sizes "$image"
  [ ! -e "$run/bin/ctr" ] || step "$image loaded" load "$image"
done
