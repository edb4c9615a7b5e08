#!/usr/bin/env bash
# Makes a one-node Kubernetes in a network namespace of its own and prints the line that selects it.
source "$(dirname "$0")/settings.sh"
source "$here/services.sh"

[ "$(id -u)" = 0 ] || die "Needs root: the cluster runs containerd and has a network namespace of its own."
alone cluster

tools=(kubernetes kube-router helm helm4 etcd coredns provisioner)
images=(pause etcd mysql python)
services=(etcd containerd kube-apiserver api-inside api-outside kube-controller-manager kube-scheduler kubelet kube-proxy kube-router coredns provisioner)

whole() {
  local name
  for name in "${services[@]}"; do
    [ -d "/proc/$(cat "$run/pid/$name" 2>/dev/null || echo none)" ] || return
  done
  kubectl wait --for=condition=Ready node/node-1 --timeout=5s
}

print_selection() { echo "export KUBECONFIG=$run/kubeconfig PATH=$run/bin:\$PATH"; }

make_namespace() {
  ip netns add "$netns"
  inside ip link set lo up
  # The node's address is on a bridge that leads nowhere, and so is its default route: no packet of a test can leave the namespace.
  inside ip link add node0 type bridge
  inside ip addr add "$node_ip/24" dev node0
  inside ip link set node0 up
  inside ip route add default dev node0
  inside sysctl -qw net.ipv4.ip_forward=1
}

make_credentials() {
  cd "$run/pki"
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout ca.key -subj /CN=cluster-ca -days 365 -out ca.crt
  openssl ecparam -genkey -name prime256v1 -noout -out service-accounts.key
  openssl ec -in service-accounts.key -pubout -out service-accounts.pub
  certificate kube-apiserver /O=system:masters/CN=kube-apiserver \
    "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:localhost,IP:127.0.0.1,IP:10.96.0.1,IP:$node_ip"
  certificate admin /O=system:masters/CN=admin
  certificate kube-controller-manager /CN=system:kube-controller-manager
  certificate kube-scheduler /CN=system:kube-scheduler
  certificate kube-proxy /CN=system:kube-proxy
  certificate kubelet /O=system:nodes/CN=system:node:node-1
  for name in admin kube-controller-manager kube-scheduler kube-proxy kubelet; do
    kubeconfig $name https://127.0.0.1:6443 $name.kubeconfig
  done
  kubeconfig admin "https://127.0.0.1:$port" "$run/kubeconfig"
}

make_commands() {
  local folder
  for folder in "${folders[@]}"; do ln -s "$folder"/* "$run/bin/"; done
  printf '#!/bin/sh\nexec %s --address %s --namespace k8s.io "$@"\n' "$(command -v ctr)" "$run/containerd.sock" >"$run/bin/ctr"
  printf '#!/bin/sh\nexec nsenter --net=/run/netns/%s "$@"\n' "$netns" >"$run/bin/on-node"
  chmod +x "$run/bin/ctr" "$run/bin/on-node"
}

start_control_plane() {
  local pki=$run/pki
  start etcd "$run/bin/etcd" --data-dir "$run/etcd" --unsafe-no-fsync --log-level warn \
    --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 --listen-peer-urls http://127.0.0.1:2380
  start containerd containerd --config "$run/containerd.toml"
  start kube-apiserver "$run/bin/kube-apiserver" --etcd-servers=http://127.0.0.1:2379 \
    --advertise-address="$node_ip" --service-cluster-ip-range=10.96.0.0/16 --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction \
    --allow-privileged=true --client-ca-file="$pki/ca.crt" --tls-cert-file="$pki/kube-apiserver.crt" --tls-private-key-file="$pki/kube-apiserver.key" \
    --kubelet-client-certificate="$pki/kube-apiserver.crt" --kubelet-client-key="$pki/kube-apiserver.key" --kubelet-preferred-address-types=InternalIP \
    --service-account-issuer=https://kubernetes.default.svc --service-account-key-file="$pki/service-accounts.pub" \
    --service-account-signing-key-file="$pki/service-accounts.key"
  bridge api "$port" 6443
  await "the API server is ready" 60 kubectl get --raw /readyz
  start kube-controller-manager "$run/bin/kube-controller-manager" --kubeconfig="$pki/kube-controller-manager.kubeconfig" --leader-elect=false \
    --use-service-account-credentials --service-account-private-key-file="$pki/service-accounts.key" --root-ca-file="$pki/ca.crt" \
    --cluster-signing-cert-file="$pki/ca.crt" --cluster-signing-key-file="$pki/ca.key" \
    --authentication-kubeconfig="$pki/kube-controller-manager.kubeconfig" --authorization-kubeconfig="$pki/kube-controller-manager.kubeconfig"
  start kube-scheduler "$run/bin/kube-scheduler" --kubeconfig="$pki/kube-scheduler.kubeconfig" --leader-elect=false \
    --authentication-kubeconfig="$pki/kube-scheduler.kubeconfig" --authorization-kubeconfig="$pki/kube-scheduler.kubeconfig"
  kubectl apply -f "$here/config/storage-class.yaml"
}

start_node() {
  start_kubelet kubelet "$run" node-1
  # The limits on connections are the machine's, not the namespace's: they are left alone.
  start kube-proxy "$run/bin/kube-proxy" --kubeconfig="$run/pki/kube-proxy.kubeconfig" --hostname-override=node-1 --cluster-cidr=10.244.0.0/16 \
    --proxy-mode=iptables --conntrack-max-per-core=0 --conntrack-tcp-timeout-established=0 --conntrack-tcp-timeout-close-wait=0
  start coredns "$run/bin/coredns" -conf "$run/Corefile"
  start provisioner "$run/bin/provisioner" -kubeconfig "$run/pki/admin.kubeconfig" -name video-platform/folder -root "$run/volumes"
  await "the node is there" 60 kubectl get node/node-1
  # It enforces NetworkPolicies; routes are the network plugin's, Services kube-proxy's. It exits when its node does not exist.
  start kube-router "$run/bin/kube-router" --kubeconfig="$run/pki/admin.kubeconfig" --hostname-override=node-1 \
    --run-firewall=true --run-router=false --run-service-proxy=false --service-cluster-ip-range=10.96.0.0/16 --health-port=0
  kubectl wait --for=condition=Ready node/node-1 --timeout=60s
  await "NetworkPolicies are enforced" 30 inside iptables --list KUBE-ROUTER-FORWARD
  await "cluster DNS is ready" 60 inside curl --fail --silent "http://$node_ip:8181/ready"
  await "pods can be made" 60 kubectl get serviceaccount default
}

load_images() {
  local index names name
  await "containerd is ready" 30 "$run/bin/ctr" version
  for index in "${!images[@]}"; do
    [ ! -e "$run/loaded/$(basename "${archives[index]}")" ] || continue
    mapfile -t names <"$here/images/${images[index]}/names"
    "$run/bin/ctr" images import "${archives[index]}"
    for name in "${names[@]:1}"; do "$run/bin/ctr" images tag --force "${names[0]}" "$name"; done
    touch "$run/loaded/$(basename "${archives[index]}")"
  done
}

"$here/packages.sh"
paths=$("$here/binaries.sh" "${tools[@]}")
mapfile -t folders <<<"$paths"
paths=$("$here/base-images.sh" "${images[@]}")
mapfile -t archives <<<"$paths"

if whole >/dev/null 2>&1; then
  [ "$(cat "$run/folders")" = "${folders[*]}" ] || say "The cluster that runs was made of other versions: 'make cluster-down' first to have these."
  load_images >/dev/null
  print_selection
  exit
fi
if [ -e "$run" ] || [ -e "/run/netns/$netns" ]; then
  say "What is left of another cluster is taken down first."
  locked=yes "$here/down.sh"
fi

umask 022
mkdir -p "$run"
chmod 700 "$run"
mkdir "$run"/{bin,cni,etcd,loaded,log,pid,pki,volumes}
echo "${folders[*]}" >"$run/folders"
[ -e /var/lib/kubelet ] || touch "$run/made-var-lib-kubelet"
[ -e /run/netns ] || touch "$run/made-run-netns"
echo "nameserver $node_ip" >"$run/resolv.conf"
sysctl --ignore vm.overcommit_memory vm.panic_on_oom kernel.panic kernel.panic_on_oops kernel.keys.root_maxkeys kernel.keys.root_maxbytes >"$run/sysctl.conf"
for file in containerd.toml kubelet.yaml Corefile; do configure $file "$run/$file"; done
configure pods.conflist "$run/cni/10-pods.conflist"
port=$(free_port 6443)
make_commands
step "Network namespace" make_namespace
step "Certificates" make_credentials
step "Control plane" start_control_plane
load_images >"$run/log/images.log" 2>&1 &
loading=$!
step "Node" start_node
wait $loading || die "Failed: the images are loaded; see $run/log/images.log."
say "Kubernetes runs after $SECONDS s; 'make cluster-down' takes it down."
print_selection
