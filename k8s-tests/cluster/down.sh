#!/usr/bin/env bash
# Takes the cluster down, whatever state it is in: processes, containers, mounts, network namespaces, volumes. Nothing is asked of the
# cluster itself, since it may hang; what belongs to it is known by its network namespace and by its folder.
source "$(dirname "$0")/settings.sh"
source "$here/services.sh"

[ "$(id -u)" = 0 ] || die "Needs root, as the cluster does."
[ "${locked:-}" = yes ] || alone cluster
if [ ! -e "$run" ] && [ ! -e "/run/netns/$netns" ]; then
  say "There is no cluster."
  exit
fi

members() { [ ! -e "/run/netns/$netns" ] || ip netns pids "$netns"; }
gone() { [ -z "$(members)$(shims "$run")" ]; }

# First what would start again what is killed next.
for file in "$run"/pid/{kubelet,containerd}{,-2} "$run/pid/dockerd" "$run/docker/exec/containerd/containerd.pid"; do
  [ ! -e "$file" ] || kill_ours "$(cat "$file")"
done
kill_containers "$run"
for file in "$run"/pid/*; do [ ! -e "$file" ] || kill_ours "$(cat "$file")"; done
mapfile -t left < <(members)
kill_ours "${left[@]}"
await "the cluster's processes are gone" 20 gone

# What is outside the folder.
forget_containers "$run/node-2"
forget_containers "$run"
[ ! -e "$run/made-var-lib-kubelet" ] || rm -rf /var/lib/kubelet
[ ! -e "/run/netns/$netns" ] || ip netns delete "$netns"
if [ -e "$run/made-run-netns" ] && [ -z "$(ls /run/netns)" ]; then
  umount /run/netns
  rmdir /run/netns
fi
[ ! -e "$run/sysctl.conf" ] || sysctl --quiet --load="$run/sysctl.conf"
find /sys/fs/cgroup -depth -type d \( -path '*/kubepods*' -o -path '*/k8s.io*' \) -exec rmdir {} + 2>/dev/null || true
rm -rf --one-file-system "$run"
[ ! -e "$run" ] || die "Something is still mounted in $run."
say "The cluster is down."
