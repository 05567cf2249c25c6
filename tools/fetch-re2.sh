#!/bin/sh
# A Python environment with RE2 itself, the oracle of our validator; prints its interpreter's path.
set -eu
. "$(dirname "$0")/env.sh"
version=1.1.20251105
venv=$LATEEN_CACHE/google-re2-$version

fetch() {
    [ -x "$venv/bin/python" ] && "$venv/bin/python" -c 'import re2' 2>/dev/null && return
    say "fetching google-re2 $version from PyPI into $venv" >&2
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check "google-re2==$version" >&2
}

with_lock google-re2 fetch
echo "$venv/bin/python"
