#!/usr/bin/env bash
# Writes the root file system of the pause image to the tar file $1.
set -euo pipefail
tar --create --file "$1" --owner=0 --group=0 --numeric-owner --dereference --transform 's#.*#pause#' --directory / usr/bin/catatonit
