#!/bin/bash
# Dumps the database into a file of the folder BACKUPS and deletes the dumps that are older than KEEP_DAYS; or, if RESTORE names a dump,
# loads it. The password comes through a pipe: arguments and environment of a process can be read from outside.
set -euo pipefail
umask 077
cd "$BACKUPS"
task=backup
[ -z "${RESTORE:-}" ] || task="restore of $RESTORE"
# Kubernetes shows the end of the log of a container that failed as the reason.
trap 'echo "chart: the $task failed, for the reason above" >&2' ERR

certificate=()
if [ -e /run/secrets/mtls/tls.crt ]; then
  certificate=(--ssl-mode=VERIFY_IDENTITY --ssl-ca=/run/secrets/mtls/ca.crt
    --ssl-cert=/run/secrets/mtls/tls.crt --ssl-key=/run/secrets/mtls/tls.key)
fi

client() {
  local password
  password=$(< "$MYSQL_PASSWORD_FILE")
  "$1" --defaults-file=<(printf '[client]\npassword="%s"\n' "${password//\\/\\\\}") --host="$MYSQL_HOST" --port=3306 --protocol=TCP \
    --user="$MYSQL_USER" --default-character-set=utf8mb4 "${certificate[@]}" "${@:2}"
}

# NetworkPolicies may refuse a new pod's connections for a moment.
for _ in {1..10}; do
  ! client mysqladmin --silent ping 2> /dev/null || break
  sleep 1
done

if [ -n "${RESTORE:-}" ]; then
  gzip --test "$RESTORE"
  gzip --decompress --stdout "$RESTORE" | client mysql "$MYSQL_DATABASE"
  echo "chart: restored $RESTORE"
  exit
fi

name=$MYSQL_DATABASE-$(date --utc +%Y%m%dT%H%M%SZ).sql.gz
# What a kill has left behind.
find . -maxdepth 1 -name '.*.partial' -mmin +1440 -delete
# Tablespaces and masking policies are the server's, not the database's: the user may not read them.
client mysqldump --single-transaction --set-gtid-purged=OFF --no-tablespaces --loose-masking-policies=OFF \
  --routines --events --hex-blob "$MYSQL_DATABASE" | gzip > ".$name.partial"
sync ".$name.partial"
mv ".$name.partial" "$name"
# Old dumps stay as long as no new one succeeds.
find . -maxdepth 1 -name "$MYSQL_DATABASE-*.sql.gz" -mmin "+$((KEEP_DAYS * 1440))" -delete
echo "chart: saved $name; these dumps are kept:"
ls -l -- "$MYSQL_DATABASE"-*.sql.gz
