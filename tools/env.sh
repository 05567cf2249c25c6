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

# python_with PACKAGE VERSION MODULE: the interpreter of a Python environment with that package from PyPI, which has the
# module; made once.
python_with() {
    venv=$LATEEN_CACHE/$1-$2
    with_lock "$1" python_fetch "$@"
    echo "$venv/bin/python"
}

python_fetch() {
    [ -x "$venv/bin/python" ] && "$venv/bin/python" -c "import $3" 2>/dev/null && return
    say "fetching $1 $2 from PyPI into $venv" >&2
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check "$1==$2" >&2
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
