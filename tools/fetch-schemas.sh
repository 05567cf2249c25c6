#!/bin/sh
# The schemas of Istio's and the Gateway API's objects, from the Go module registry into the cache, and the table of
# their fields.
#   tools/fetch-schemas.sh         compares the table in the repository with them
#   tools/fetch-schemas.sh UPDATE  writes it anew
set -eu
cd "$(dirname "$0")/.."
. tools/env.sh
istio=istio.io/api@v1.32.0
gateway_api=sigs.k8s.io/gateway-api@v1.6.1
table=xds-server/compile/tests/fields/schema.tsv

go=$(tools/fetch-go.sh)
export GOMODCACHE="$LATEEN_CACHE/schemas" GOTOOLCHAIN=local GOFLAGS=-modcacherw GO111MODULE=on
work=$(mktemp -d "$LATEEN_CACHE/.schemas.XXXXXX")
trap 'rm -rf "$work"' EXIT
(cd "$work" && "$go" mod download "$istio" "$gateway_api")
if ! python3 -c 'import yaml' 2>/dev/null; then
    [ -x "$LATEEN_CACHE/schemas/venv/bin/python3" ] || python3 -m venv "$LATEEN_CACHE/schemas/venv"
    "$LATEEN_CACHE/schemas/venv/bin/pip" install --quiet --disable-pip-version-check pyyaml==6.0.3
    PATH=$LATEEN_CACHE/schemas/venv/bin:$PATH
fi
python3 tools/schema.py "$GOMODCACHE/$istio" "$GOMODCACHE/$gateway_api" \
    "$(echo "$istio and $gateway_api" | tr @ ' ')" >"$work/schema.tsv"
if [ "${1:-}" = UPDATE ]; then
    cp "$work/schema.tsv" "$table"
elif ! diff -u "$table" "$work/schema.tsv"; then
    echo "the schemas have other fields than $table: tools/fetch-schemas.sh UPDATE, then decide about each" >&2
    exit 1
fi
