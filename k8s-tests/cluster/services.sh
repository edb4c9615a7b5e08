# How the cluster's processes are started, reached and ended.
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

inside() { nsenter --net="/run/netns/$netns" "$@"; }
kubectl() { "$run/bin/kubectl" --kubeconfig "$run/kubeconfig" "$@"; }

configure() { sed "s#@run@#$run#g; s#@node_ip@#$node_ip#g" "$here/config/$1" >"$2"; }

# certificate NAME SUBJECT [SUBJECT_ALTERNATIVE_NAMES]
certificate() {
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$1.key" -subj "$2" -out "$1.csr"
  openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 365 -out "$1.crt" \
    -extfile <(printf 'extendedKeyUsage=clientAuth,serverAuth\n%s' "${3:+subjectAltName=$3}")
}

# kubeconfig NAME SERVER FILE: complete in itself, so that it can be copied.
kubeconfig() {
  cat >"$3" <<YAML
apiVersion: v1
kind: Config
clusters:
- name: local
  cluster: {server: "$2", certificate-authority-data: $(base64 -w0 ca.crt)}
users:
- name: $1
  user: {client-certificate-data: $(base64 -w0 "$1.crt"), client-key-data: $(base64 -w0 "$1.key")}
contexts:
- name: local
  context: {cluster: local, user: $1}
current-context: local
YAML
}

# start_kubelet NAME FOLDER NODE
start_kubelet() {
  start "$1" "$run/bin/kubelet" --config="$2/kubelet.yaml" --kubeconfig="$run/pki/$1.kubeconfig" --root-dir="$2/kubelet" \
    --cert-dir="$2/pki/$1" --hostname-override="$3" --node-ip="$node_ip"
}

# A pid file may be older than the process that has its number now.
is_ours() {
  [ -d "/proc/$1" ] || return
  tr '\0' ' ' <"/proc/$1/cmdline" | grep -qF "$run/" || [ "/proc/$1/ns/net" -ef "/run/netns/$netns" ]
}
kill_ours() {
  local pid
  for pid; do ! is_ours "$pid" || kill -KILL "$pid" 2>/dev/null || true; done
}

# Of the containerd whose socket is in this folder, or below it.
shims() { pgrep --full -- "containerd-shim.* -address $1/" || true; }
kill_containers() {
  local shim
  for shim in $(shims "$1"); do
    # Its children are what the containers began with; the rest of a container dies with that.
    kill -KILL $(pgrep --parent "$shim") "$shim" 2>/dev/null || true
  done
}

mounts() { awk -v folder="$1/" 'index($5, folder) == 1 { print $5 }' /proc/self/mountinfo | sort --reverse; }

# forget_containers FOLDER: unmounts what is in it, and deletes what containerd, its shims and the network plugins keep outside it, by the ids in it.
forget_containers() {
  local mount task
  for mount in $(mounts "$1"); do umount --lazy "$mount"; done
  for task in "$1"/containerd/state/io.containerd.runtime.v2.task/k8s.io/*; do
    [ ! -e "$task/address" ] || rm -f "$(sed 's#^unix://##' "$task/address")"
    rm -f /var/lib/cni/results/*-"$(basename "$task")"-*
  done
}
