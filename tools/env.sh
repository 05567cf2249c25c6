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

# said FILE WHAT: the address in a line "WHAT on ADDRESS" that a server that was just started writes to FILE.
said() {
    for _ in $(seq 200); do
        found=$(sed -n "s/^$2 on //p" "$1")
        [ -n "$found" ] && echo "$found" && return
        sleep 0.05
    done
    echo "the server does not start" >&2
    exit 1
}
