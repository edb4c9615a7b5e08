#!/bin/bash
# Has the server read its certificate again whenever the files change, and once at the start, as they may have changed
# while nobody looked. When it refuses them it keeps those that it has.
set -uo pipefail
# A shell that is process 1 ignores SIGTERM unless told, and acts on it between two commands only.
trap exit TERM
loaded=
refused=
while sleep "$INTERVAL" & wait $!; do
  files=$(cat /run/secrets/mtls/{ca.crt,tls.crt,tls.key} | sha256sum)
  # Only a server that has finished its initialisation listens on TCP.
  if [ "$files" = "$loaded" ] || ! bash /etc/chart/alive.sh > /dev/null 2>&1; then
    continue
  fi
  password=$(< "$MYSQL_ROOT_PASSWORD_FILE")
  if said=$(mysql --defaults-file=<(printf '[client]\npassword="%s"\n' "${password//\\/\\\\}") --user=root \
    --execute='ALTER INSTANCE RELOAD TLS' 2>&1); then
    echo "chart: the server uses the certificate in /run/secrets/mtls"
    loaded=$files
  elif [ "$files" != "$refused" ]; then
    echo "chart: the server keeps its certificate, since it cannot load the new one: $said" >&2
    refused=$files
  fi
done
