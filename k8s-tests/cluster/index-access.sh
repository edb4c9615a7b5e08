# What this machine needs to reach its package index, for image builds. It must not get into an image that leaves the machine.
# shellcheck shell=bash disable=SC2034
bundle=/etc/ssl/certs/ca-certificates.crt

# index_access HOME: writes pip's configuration into a home folder.
index_access() {
  mkdir -p "$1/.config/pip"
  {
    echo '[global]'
    [ ! -e "$bundle" ] || echo "cert = $bundle"
    { python3 -m pip config list 2>/dev/null || true; } |
      sed -nE "s/^(global|:env:)\.(index-url|extra-index-url|trusted-host|proxy)='(.*)'$/\2 = \3/p"
  } >"$1/.config/pip/pip.conf"
}
