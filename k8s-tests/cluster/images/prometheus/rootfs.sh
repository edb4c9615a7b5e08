#!/usr/bin/env bash
# Writes the root file system of the Prometheus image to the tar file $1.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
binaries=$("$here/../../binaries.sh" prometheus)
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root"/{bin,etc/prometheus}
install -d -m 775 -o 65534 -g 65534 "$root/prometheus"
install -d -m 1777 "$root/tmp"
printf 'root:x:0:0:root:/root:/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin\n' >"$root/etc/passwd"
printf 'root:x:0:\nnobody:x:65534:\n' >"$root/etc/group"
cp "$binaries/prometheus" "$root/bin/"
tar --create --file "$1" --directory "$root" --numeric-owner .
