#!/bin/bash
# Starts the server by way of the image's entrypoint, which takes a data folder for complete as soon as one of its first
# folders is there. A kill in the first initialisation would leave it half done. So a mark lies beside the data
# folder until the readiness probe has logged in for the first time; until then no user can have stored anything, and
# what is there can go.
set -euo pipefail
volume=/var/lib/mysql-volume
data=$volume/mysql
mark=$volume/.initialising

mkdir -p "$data"
if [ -e "$mark" ]; then
  echo "chart: the first initialisation of $data was interrupted; it starts over" >&2
  find "$data" -mindepth 1 -delete
elif [ -z "$(ls -A "$data")" ]; then
  touch "$mark"
fi
connections=()
[ ! -e /etc/chart/max-connections ] || connections=("--max-connections=$(< /etc/chart/max-connections)")
exec docker-entrypoint.sh mysqld "${connections[@]}" "$@"
