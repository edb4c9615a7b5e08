#!/bin/bash
# Succeeds when the user can log in over TCP and use the database. The password comes through a pipe: arguments and
# environment of a process can be read from outside.
set -euo pipefail

# client PASSWORD_FILE ARGUMENTS...
client() {
  local password
  password=$(< "$1")
  mysql --defaults-file=<(printf '[client]\npassword="%s"\n' "${password//\\/\\\\}") "${@:2}"
}

certificate=()
if [ -e /run/secrets/mtls/tls.crt ]; then
  certificate=(--ssl-cert=/run/secrets/mtls/tls.crt --ssl-key=/run/secrets/mtls/tls.key)
fi
connections=$(client "$MYSQL_PASSWORD_FILE" --host=127.0.0.1 --port=3306 --protocol=TCP --connect-timeout=3 \
  --user="$MYSQL_USER" --database="$MYSQL_DATABASE" "${certificate[@]}" --batch --skip-column-names --execute='SELECT @@max_connections')
# The first login ends the first initialisation: see start.sh.
rm -f /var/lib/mysql-volume/.initialising
# More pods of the user service need more connections, and no restart.
wanted=/etc/chart/max-connections
if [ -e "$wanted" ] && [ "$connections" != "$(< "$wanted")" ]; then
  client "$MYSQL_ROOT_PASSWORD_FILE" --user=root --execute="SET GLOBAL max_connections = $(< "$wanted")" || true
fi
