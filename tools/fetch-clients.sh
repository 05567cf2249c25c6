#!/bin/sh
# A Python environment with grpcio, the independent xDS client of the tests; prints its interpreter's path.
set -eu
. "$(dirname "$0")/env.sh"
version=1.85.1
venv=$LATEEN_CACHE/grpcio-$version

fetch() {
    [ -x "$venv/bin/python" ] && "$venv/bin/python" -c 'import grpc' 2>/dev/null && return
    say "fetching grpcio $version from PyPI into $venv" >&2
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check "grpcio==$version" >&2
}

with_lock grpcio fetch
echo "$venv/bin/python"
