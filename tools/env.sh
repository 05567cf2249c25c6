# Sourced by the other tools: where fetched and built things are kept, outside the clone.
LATEEN_CACHE=${LATEEN_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/lateen}
export LATEEN_CACHE
mkdir -p "$LATEEN_CACHE"

say() { printf '\033[1m>>\033[0m %s\n' "$*"; }

# with_lock NAME COMMAND…: two makes at once fetch a thing once.
with_lock() {
    lock=$1
    shift
    (
        flock 9
        "$@"
    ) 9>"$LATEEN_CACHE/.$lock.lock"
}
