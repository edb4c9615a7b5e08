#!/bin/bash
# Succeeds when the user can log in over TCP and use the database. The password comes through a pipe: arguments and
# environment of a process can be read from outside.
set -euo pipefail
password=$(< "$MYSQL_PASSWORD_FILE")
certificate=()
if [ -e /run/secrets/mtls/tls.crt ]; then
  certificate=(--ssl-cert=/run/secrets/mtls/tls.crt --ssl-key=/run/secrets/mtls/tls.key)
fi
mysql --defaults-file=<(printf '[client]\npassword="%s"\n' "${password//\\/\\\\}") \
  --host=127.0.0.1 --port=3306 --protocol=TCP --connect-timeout=3 --user="$MYSQL_USER" --database="$MYSQL_DATABASE" \
  "${certificate[@]}" --batch --skip-column-names --execute='SELECT 1' > /dev/null
# The first login ends the first initialisation: see start.sh.
rm -f /var/lib/mysql-volume/.initialising
