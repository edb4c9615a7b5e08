#!/usr/bin/env bash
# packages.sh [docker]: installs the Debian packages that the cluster runs on, each only when what it provides is not there already;
# those of docker.sh as well when asked to.
source "$(dirname "$0")/settings.sh"

missing=()
need() { command -v "$1" >/dev/null || [ -e "$1" ] || missing+=("$2"); }
need containerd containerd
need runc runc
need /usr/lib/cni/ptp containernetworking-plugins
need iptables iptables
need ipset ipset
need buildah buildah
need mmdebstrap mmdebstrap
need /usr/bin/catatonit catatonit
need socat socat
need ip iproute2
need openssl openssl
need curl curl
need pgrep procps
need /etc/ssl/certs/ca-certificates.crt ca-certificates
if [ "${1:-}" = docker ]; then
  need dockerd docker.io
  need docker docker.io
fi

[ ${#missing[@]} -gt 0 ] || exit 0
command -v apt-get >/dev/null || die "Needs ${missing[*]}, and no apt-get to install them with: the cluster is made for Debian 12 and its relatives."

export DEBIAN_FRONTEND=noninteractive
step "Debian packages (${missing[*]})" bash -c "apt-get update && apt-get install --yes --no-install-recommends ${missing[*]}"
