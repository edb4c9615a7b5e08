# How the cluster's processes are started and reached.
# shellcheck shell=bash disable=SC2154

# start NAME COMMAND...: in the cluster's network namespace, on after the script that starts it.
start() { start_outside "$1" nsenter --net="/run/netns/$netns" "${@:2}"; }
start_outside() {
  # Nothing of the caller's is passed on: not a proxy, not a niceness, not a low limit on open files.
  setsid env --ignore-environment PATH="$PATH" HOME=/root nice --adjustment "$((-$(nice)))" \
    prlimit --nofile="$(open_files)" "${@:2}" >"$run/log/$1.log" 2>&1 </dev/null 9>&- &
  echo $! >"$run/pid/$1"
}

open_files() {
  local most
  most=$(ulimit -Hn)
  if [ "$most" = unlimited ] || [ "$most" -gt 1048576 ]; then most=1048576; fi
  echo "$most:$most"
}

# bridge NAME PORT_OUTSIDE PORT_INSIDE: both of the loopback interface. A UNIX socket is the one thing that both network namespaces share.
bridge() {
  start "$1-inside" socat "UNIX-LISTEN:$run/$1.sock,fork" "TCP:127.0.0.1:$3"
  start_outside "$1-outside" socat "TCP-LISTEN:$2,bind=127.0.0.1,reuseaddr,fork" "UNIX-CONNECT:$run/$1.sock"
}

# free_port FROM: the first that is free outside.
free_port() {
  local port=$1
  while ss -Hltn "sport = :$port" | grep -q .; do port=$((port + 1)); done
  echo "$port"
}
