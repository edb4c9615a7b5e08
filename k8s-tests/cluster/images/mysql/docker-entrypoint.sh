#!/usr/bin/env bash
# Behaves as the entrypoint of the official MySQL image does: the same variables with their _FILE forms, the same refusals, a temporary
# server without network that is set up before the real one starts. Like that one it takes a folder that holds "mysql/" for a finished
# database, and pastes the values of the variables into SQL as they are.
set -eo pipefail
shopt -s nullglob

note() { printf '%s [%s] [Entrypoint]: %s\n' "$(date --rfc-3339=seconds)" "${level:-Note}" "$*"; }
warn() { level=Warn note "$@" >&2; }
fail() { level=ERROR note "$@" >&2; exit 1; }

# from_env NAME [DEFAULT]: takes NAME, or what the file named by NAME_FILE holds.
from_env() {
  local name=$1 file=$1_FILE value=${2:-}
  [ -z "${!name:-}" ] || [ -z "${!file:-}" ] || fail "Both $name and $file are set (but are exclusive)"
  if [ -n "${!name:-}" ]; then
    value=${!name}
  elif [ -n "${!file:-}" ]; then
    value=$(<"${!file}")
  fi
  export "$name=$value"
  unset "$file"
}

settings_of() { "$@" --verbose --help --log-bin-index="$(mktemp -u)"; }
setting() { awk -v name="$1" '/^[^ \t]/ && $1 == name { sub(/^[^ \t]+[ \t]+/, ""); print; exit }' <<<"$effective"; }

# client PROGRAM ARGUMENTS...: as root over the socket; the password never stands in an argument.
client() {
  local program=$1
  shift
  "$program" --defaults-extra-file=<([ -z "$root_password" ] || printf '[client]\npassword="%s"\n' "$root_password") \
    --protocol=socket --user=root --host=localhost --socket="$socket" "$@"
}
sql() { client mysql --comments ${MYSQL_DATABASE:+--database="$MYSQL_DATABASE"} "$@"; }

refuse_incomplete_options() {
  local how='
    - MYSQL_ROOT_PASSWORD
    - MYSQL_ALLOW_EMPTY_PASSWORD
    - MYSQL_RANDOM_ROOT_PASSWORD'
  if [ -z "$MYSQL_ROOT_PASSWORD$MYSQL_ALLOW_EMPTY_PASSWORD$MYSQL_RANDOM_ROOT_PASSWORD" ]; then
    fail "Database is uninitialized and password option is not specified
    You need to specify one of the following as an environment variable:$how"
  fi
  if [ "$MYSQL_USER" = root ]; then
    fail "MYSQL_USER=\"root\", MYSQL_USER and MYSQL_PASSWORD are for configuring a regular user and cannot be used for the root user
    Remove MYSQL_USER=\"root\" and use one of the following to control the root user password:$how"
  fi
  if [ -n "$MYSQL_USER" ] && [ -z "$MYSQL_PASSWORD" ]; then
    warn 'MYSQL_USER specified, but missing MYSQL_PASSWORD; MYSQL_USER will not be created'
  elif [ -z "$MYSQL_USER" ] && [ -n "$MYSQL_PASSWORD" ]; then
    warn 'MYSQL_PASSWORD specified, but missing MYSQL_USER; MYSQL_PASSWORD will be ignored'
  fi
}

make_folders() {
  local folders=("$data" "$(dirname "$socket")") name value
  for name in general-log-file keyring_file_data pid-file slow-query-log-file; do
    value=$(setting "$name")
    [ -z "$value" ] || folders+=("$(dirname "$value")")
  done
  value=$(setting secure-file-priv)
  [ -z "$value" ] || [ "$value" = NULL ] || folders+=("$value")
  mkdir -p "${folders[@]}"
  [ "$(id -u)" != 0 ] || find "${folders[@]}" ! -user mysql -exec chown --no-dereference mysql {} +
}

create_accounts() {
  if [ -z "$MYSQL_INITDB_SKIP_TZINFO" ]; then
    mysql_tzinfo_to_sql /usr/share/zoneinfo | sed 's/Local time zone must be set--see zic manual page/FCTY/' | sql --database=mysql
  fi
  if [ -n "$MYSQL_RANDOM_ROOT_PASSWORD" ]; then
    MYSQL_ROOT_PASSWORD=$(openssl rand -base64 24)
    export MYSQL_ROOT_PASSWORD
    note "GENERATED ROOT PASSWORD: $MYSQL_ROOT_PASSWORD"
  fi
  local everywhere=
  if [ -n "$MYSQL_ROOT_HOST" ] && [ "$MYSQL_ROOT_HOST" != localhost ]; then
    everywhere="CREATE USER 'root'@'$MYSQL_ROOT_HOST' IDENTIFIED BY '$MYSQL_ROOT_PASSWORD';
      GRANT ALL ON *.* TO 'root'@'$MYSQL_ROOT_HOST' WITH GRANT OPTION;"
  fi
  sql --database=mysql <<SQL
SET autocommit = 1;
SET @@SESSION.SQL_LOG_BIN = 0;
ALTER USER 'root'@'localhost' IDENTIFIED BY '$MYSQL_ROOT_PASSWORD';
GRANT ALL ON *.* TO 'root'@'localhost' WITH GRANT OPTION;
FLUSH PRIVILEGES;
$everywhere
DROP DATABASE IF EXISTS test;
SQL
  root_password=$MYSQL_ROOT_PASSWORD
  if [ -n "$MYSQL_DATABASE" ]; then
    note "Creating database $MYSQL_DATABASE"
    sql --database=mysql <<<"CREATE DATABASE IF NOT EXISTS \`$MYSQL_DATABASE\`;"
  fi
  if [ -n "$MYSQL_USER" ] && [ -n "$MYSQL_PASSWORD" ]; then
    note "Creating user $MYSQL_USER"
    sql --database=mysql <<<"CREATE USER '$MYSQL_USER'@'%' IDENTIFIED BY '$MYSQL_PASSWORD';"
    if [ -n "$MYSQL_DATABASE" ]; then
      note "Giving user $MYSQL_USER access to schema $MYSQL_DATABASE"
      sql --database=mysql <<<"GRANT ALL ON \`${MYSQL_DATABASE//_/\\_}\`.* TO '$MYSQL_USER'@'%';"
    fi
  fi
}

run_init_files() {
  local file
  for file in /docker-entrypoint-initdb.d/*; do
    note "$0: running $file"
    case $file in
      *.sh) if [ -x "$file" ]; then "$file"; else . "$file"; fi ;;
      *.sql) sql <"$file" ;;
      *.sql.gz) gunzip -c "$file" | sql ;;
      *.sql.bz2) bunzip2 -c "$file" | sql ;;
      *.sql.xz) xzcat "$file" | sql ;;
      *.sql.zst) zstd -dc "$file" | sql ;;
      *) warn "$0: ignoring $file" ;;
    esac
  done
}

initialize() {
  refuse_incomplete_options
  # A folder that cannot be read would end the set-up halfway.
  ls /docker-entrypoint-initdb.d/ >/dev/null
  note 'Initializing database files'
  "$@" --initialize-insecure --default-time-zone=SYSTEM
  note 'Database files initialized'
  note 'Starting temporary server'
  "$@" --daemonize --skip-networking --default-time-zone=SYSTEM --socket="$socket" || fail 'Unable to start server.'
  note 'Temporary server started.'
  create_accounts
  run_init_files
  [ -z "$MYSQL_ONETIME_PASSWORD" ] || sql --database=mysql <<<"ALTER USER 'root'@'%' PASSWORD EXPIRE;"
  note 'Stopping temporary server'
  client mysqladmin shutdown || fail 'Unable to shut down server.'
  note 'Temporary server stopped'
  note 'MySQL init process done. Ready for start up.'
}

main() {
  [ "${1:0:1}" != - ] || set -- mysqld "$@"
  local argument
  for argument; do
    case $argument in '-?' | --help | --print-defaults | -V | --version) exec "$@" ;; esac
  done
  [ "$1" = mysqld ] || exec "$@"

  note "Entrypoint script for MySQL Server $(mysqld --version) started."
  local errors
  errors=$(settings_of "$@" 2>&1 >/dev/null) || fail "mysqld failed while attempting to check config
	command was: $*
	$errors"
  effective=$(settings_of "$@" 2>/dev/null)
  data=$(setting datadir)
  socket=$(setting socket)
  root_password=
  from_env MYSQL_ROOT_HOST %
  for argument in MYSQL_DATABASE MYSQL_USER MYSQL_PASSWORD MYSQL_ROOT_PASSWORD; do from_env "$argument"; done
  make_folders
  if [ "$(id -u)" = 0 ]; then
    note "Switching to dedicated user 'mysql'"
    exec gosu mysql "$0" "$@"
  fi
  [ -d "$data/mysql" ] || initialize "$@"
  exec "$@"
}

main "$@"
