#!/usr/bin/env bash
# Writes the root file system of a stand-in for python:3.13-slim to the tar file $1: Debian's own interpreter at the paths of the
# official image (prefix /usr/local, site-packages, pip as an ordinary package), so that the same Dockerfile builds on both.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
exec mmdebstrap --quiet --variant=minbase --include=python3-venv,ca-certificates,netbase,tzdata \
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
  --customize-hook="'$here/relocate.sh' \"\$1\"" trixie "$1"
