# stages.sh LIMIT, sourced by run and full: packages, stages, and the table of stages at the end. LIMIT is the seconds for all of it.
# shellcheck shell=bash
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export CI=true DEBIAN_FRONTEND=noninteractive PATH="$PATH:/usr/sbin" # CI=true makes a skipped test a failed one

limit=$1 rows=() running='' began=0
row() { rows+=("$(printf '%-44s %6d  %s' "$@")"); }
begin() { running=$1 began=$SECONDS; }
end() {
  row "$running" $((SECONDS - began)) "$1"
  running=''
}
finish() {
  local status=$? result
  case $status in
    0) result=interrupted ;;
    124 | 137) result='timed out' ;;
    *) result="failed, status $status" ;;
  esac
  [ -z "$running" ] || end "$result"
  row total "$SECONDS" "of $limit allowed"
  printf '\n%-44s %6s  %s\n' stage seconds result
  printf '%s\n' "${rows[@]}"
}
trap finish EXIT

stage() { # SECONDS TARGET [VARIABLE=VALUE]...: makes a target; one that takes longer hangs
  local most=$1 left=$((limit - SECONDS))
  shift
  begin "make $*"
  ((left > 0)) || { echo "no time left for make $*: $limit s have passed" >&2 && exit 124; }
  timeout --kill-after=60 $((most < left ? most : left)) make --no-print-directory "$@"
  end ok
}

missing=()
need() { # PACKAGE COMMAND...: the package is installed when the command fails
  local package=$1
  shift
  "$@" >/dev/null 2>&1 || missing+=("$package")
}
need make command -v make
need python3 command -v python3
need python3-venv python3 -c 'import ensurepip, venv'
need mariadb-server command -v mariadbd    # the tests start their own, with its own data
need chromium command -v chromium          # opens /docs
need prometheus command -v promtool        # checks the alerts, and scrapes the platform
need wrk command -v wrk                    # the client of the measurements
need curl command -v curl                  # runs the commands of the README
need nginx command -v nginx                # proxies in front of the gateway
need haproxy command -v haproxy
need faketime command -v faketime         # clocks that disagree
need default-jdk-headless command -v javac # one of the clients, with Maven; make clients-test brings Go and Node.js
need maven command -v mvn
need npm sh -c '! command -v node || command -v npm' # a Node.js that is new enough is used with the machine's npm

install_missing() (
  # Debian starts each server that it installs, unless this says no
  policy=/usr/sbin/policy-rc.d
  [ -e "$policy" ] || { install -m 755 <(printf '#!/bin/sh\nexit 101\n') "$policy" && trap 'rm -f "$policy"' EXIT; }
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "${missing[@]}" </dev/null >/dev/null
)
if ((${#missing[@]})); then
  begin "install ${#missing[@]} packages"
  echo "installing ${missing[*]}"
  install_missing
  end ok
fi
