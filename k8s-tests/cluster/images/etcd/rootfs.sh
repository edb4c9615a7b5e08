#!/usr/bin/env bash
# Writes the root file system of an etcd image to the tar file $1: etcd's three binaries and nothing to run a script with.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# The images of other versions have links to this script.
binaries=$("$here/../../binaries.sh" "$(basename "$here")")
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root"/{etc,usr/local/bin,var/etcd,var/lib/etcd}
install -d -m 1777 "$root/tmp"
printf 'root:x:0:0:root:/root:/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n' >"$root/etc/passwd"
printf 'root:x:0:\nnobody:x:65534:\nnonroot:x:65532:\n' >"$root/etc/group"
cp "$binaries"/{etcd,etcdctl,etcdutl} "$root/usr/local/bin/"
tar --create --file "$1" --directory "$root" --owner=0 --group=0 --numeric-owner .
