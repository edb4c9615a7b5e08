#!/usr/bin/env bash
# Writes the root file system of a stand-in for mysql:9.7 to the tar file $1: Debian's MySQL with the folders, modes and
# configuration of the official image.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# Only the unstable distribution carries MySQL, and its index may be older than the validity that it declares.
# /run is emptied unless told otherwise: the folder of the socket is there.
exec mmdebstrap --quiet --skip=cleanup/run --variant=minbase --include=mysql-server-core,mysql-client-core,gosu,openssl,tzdata,bzip2,xz-utils,zstd \
  --aptopt='Acquire::Check-Valid-Until "false"' \
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
  --customize-hook="'$here/official.sh' \"\$1\"" sid "$1"
