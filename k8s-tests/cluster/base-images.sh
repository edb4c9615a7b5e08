#!/usr/bin/env bash
# base-images.sh NAME...: makes the images of images/ in the cache unless they are there, and prints the archive of each. They stand in,
# under the same names, for images that kind or minikube would pull.
source "$(dirname "$0")/settings.sh"

make_image() {
  local name=$1 to=$2 tag=$3 work
  work=$(mktemp -d "$cache/images/$name.XXXXXX")
  # shellcheck disable=SC2064 # $work is gone when the trap runs
  trap "rm -rf '$work'" EXIT
  cp "$here/images/$name"/* "$work"
  nice -n 19 "$here/images/$name/rootfs.sh" "$work/rootfs.tar"
  builder build --quiet --pull-never --isolation chroot --no-cache --force-rm --tag "$tag" --file "$work/Containerfile" "$work"
  builder push --quiet "$tag" "docker-archive:$work/image.tar:$tag"
  builder rmi --force "$tag"
  mv "$work/image.tar" "$to"
}

mkdir -p "$cache/images"
for name; do
  parts=("$here/images/$name"/*)
  [ ! -d "$here/tools/$name" ] || parts+=("$here/tools/$name"/*) # the program that it is made of
  to=$cache/images/$name-$(key_of "${parts[@]}").tar
  if [ ! -e "$to" ]; then
    tag=$(head -1 "$here/images/$name/names")
    alone images
    [ -e "$to" ] || step "Image $tag made" make_image "$name" "$to" "$tag"
  fi
  echo "$to"
done
