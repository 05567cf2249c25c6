#!/bin/sh
# Builds the target into the cache, once, with the released go-control-plane of go.mod, and prints its path; or, with
# the folder of a checkout, with that.
#   build.sh [CHECKOUT]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
checkout=${1:+$(realpath "$1")}
cd "$here/../../.."
. tools/env.sh
built=$LATEEN_CACHE/conformance
mkdir -p "$built"

# compile SOURCES BINARY: modules and objects take up 1 GB, and go when it is built.
compile() {
    go=$(tools/fetch-go.sh)
    export GOMODCACHE="$work/modules" GOCACHE="$work/objects" GOTOOLCHAIN=local CGO_ENABLED=0
    export GOFLAGS="-trimpath -buildvcs=false -modcacherw"
    say "building go-control-plane as a target (log: $2.log)" >&2
    [ -z "$checkout" ] || "$go" -C "$1" mod tidy >"$2.log" 2>&1 || { tail -n 40 "$2.log" >&2 && exit 1; }
    "$go" -C "$1" build -ldflags "-s -w" -o "$2.new" . >"$2.log" 2>&1 || { tail -n 40 "$2.log" >&2 && exit 1; }
    mv "$2.new" "$2"
}

temporary() {
    work=$(mktemp -d "$LATEEN_CACHE/.build-go-control-plane.XXXXXX")
    trap 'rm -rf "$work"' EXIT
}

released() {
    stamp=$built/.go-control-plane.made
    wanted=$(cat "$here"/*.go "$here/go.mod" "$here/go.sum" | cksum)
    [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && return
    temporary
    compile "$here" "$built/go-control-plane"
    echo "$wanted" >"$stamp"
}

of_checkout() {
    temporary
    mkdir "$work/sources"
    cp "$here"/*.go "$here/go.mod" "$here/go.sum" "$work/sources"
    for module in "" /envoy /ratelimit; do
        "$(tools/fetch-go.sh)" -C "$work/sources" mod edit \
            -replace "github.com/envoyproxy/go-control-plane$module=$checkout$module"
    done
    compile "$work/sources" "$built/go-control-plane-checkout"
}

if [ -z "$checkout" ]; then
    with_lock conformance-go released
    echo "$built/go-control-plane"
else
    with_lock conformance-go of_checkout
    echo "$built/go-control-plane-checkout"
fi
