# What the scripts of this folder share: where things are kept, what things are called, how they speak.
# shellcheck shell=bash disable=SC2034
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
run=${CLUSTER_DIR:-/var/lib/video-platform-cluster}
cache=${XDG_CACHE_HOME:-${HOME:?}/.cache}/video-platform-cluster
netns=video-platform
node_ip=192.168.250.1
PATH=$PATH:/usr/sbin:/sbin:/usr/local/go/bin

say() { printf '%s\n' "$*" >&2; }
die() {
  say "$@"
  exit 1
}

# step SENTENCE COMMAND...: runs the command in a subshell, shows its output only when it fails, tells how long it took. Never to be
# called where a condition is expected: bash would let the command run on after an error.
step() {
  local sentence=$1 log status start=$SECONDS
  shift
  log=$(mktemp)
  set +e
  (
    set -e
    "$@"
  ) >"$log" 2>&1
  status=$?
  set -e
  [ $status -eq 0 ] || cat "$log" >&2
  rm -f "$log"
  [ $status -eq 0 ] || die "Failed: $sentence."
  say "$sentence: $((SECONDS - start)) s"
}

# alone NAME: from here to the end of the script one run at a time; a second one waits.
alone() {
  exec 9>"/run/lock/video-platform-$1.lock"
  flock --nonblock 9 || {
    say "Another run is at work on this ($1); waiting for it."
    flock 9
  }
}

key_of() { cat "$@" | sha256sum | cut -c1-16; }

# await SENTENCE SECONDS COMMAND...: until the command succeeds.
await() {
  local sentence=$1 deadline=$((SECONDS + $2))
  shift 2
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $deadline ] || die "Gave up waiting: $sentence."
    sleep 0.1
  done
}

# The images and containers of buildah are kept apart from those of the machine.
builder() { nice -n 19 buildah --root "$cache/buildah/root" --runroot "$cache/buildah/run" --storage-driver "${STORAGE_DRIVER:-overlay}" "$@"; }
