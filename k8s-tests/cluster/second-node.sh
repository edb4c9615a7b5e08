#!/usr/bin/env bash
# second-node.sh up|lose|down: a second node, node-2, in the cluster that runs, for tests of its loss. It is one more containerd and kubelet in
# the same network namespace; only pods that tolerate its taint run there.
source "$(dirname "$0")/settings.sh"
source "$here/services.sh"

[ "$(id -u)" = 0 ] || die "Needs root, as the cluster does."
[ -e "$run/kubeconfig" ] || die "There is no cluster: 'make cluster' first."
alone second-node

node=$run/node-2
pods=10.244.255 # the end of the range that node-1 assigns from its start
mapfile -t images < <(cat "$here"/images/{pause,etcd}/names)
images+=(localhost/video-platform/{user,gateway}-svc:"$(<"$here/../../VERSION")")
cut=(PREROUTING --source "$pods.0/24" --jump DROP)

start_node() {
  mkdir -p "$node/cni"
  ln -s ../pki ../resolv.conf "$node"
  run=$node configure containerd.toml "$node/containerd.toml"
  run=$node configure pods.conflist "$node/cni/10-pods.conflist"
  sed -i "s#\"subnet\": [^]}]*#&, \"rangeStart\": \"$pods.1\", \"rangeEnd\": \"$pods.254\"#" "$node/cni/10-pods.conflist"
  run=$node configure kubelet.yaml "$node/kubelet.yaml"
  # Without cgroups of pods: each kubelet would end those that the other one made.
  cat >>"$node/kubelet.yaml" <<'YAML'
cgroupsPerQOS: false
enforceNodeAllocatable: [none]
port: 10251
healthzPort: 0
registerWithTaints: [{key: video-platform/second-node, effect: NoSchedule}]
YAML
  start containerd-2 containerd --config "$node/containerd.toml"
  cd "$run/pki"
  certificate kubelet-2 /O=system:nodes/CN=system:node:node-2
  kubeconfig kubelet-2 https://127.0.0.1:6443 kubelet-2.kubeconfig
  await "the second containerd is ready" 30 ctr --address "$node/containerd.sock" version
  "$run/bin/ctr" images export - "${images[@]}" | ctr --address "$node/containerd.sock" --namespace k8s.io images import -
  start_kubelet kubelet-2 "$node" node-2
  await "the second node is there" 60 kubectl get node/node-2
  kubectl wait --for=condition=Ready node/node-2 --timeout=60s
}

# As in a power failure, nothing that its pods send arrives, so that no peer learns of their end by a closed connection.
lose_node() {
  inside iptables --table raw --insert "${cut[@]}"
  for file in "$run"/pid/{kubelet,containerd}-2; do
    [ ! -e "$file" ] || kill_ours "$(<"$file")"
    rm -f "$file"
  done
  kill_containers "$node"
}

remove_node() {
  lose_node
  kubectl delete node node-2 --ignore-not-found
  while inside iptables --table raw --delete "${cut[@]}"; do :; done
  forget_containers "$node"
  rm -rf --one-file-system "$node"
}

case ${1:-} in
  up) [ -e "$node" ] || step "Second node" start_node ;;
  lose) lose_node ;;
  down) [ ! -e "$node" ] || step "Second node removed" remove_node ;;
  *) die "Usage: second-node.sh up|lose|down" ;;
esac
