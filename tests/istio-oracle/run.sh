#!/bin/sh
# Asks istiod, built from the Go module registry, for its answers to the worlds of xds-server/compile/examples/istiod,
# and writes them to xds-server/compile/tests/istiod. Ten minutes the first time; by hand, after the worlds change.
#   tests/istio-oracle/run.sh
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
. tools/env.sh
go=$(tools/fetch-go.sh)
work=$(mktemp -d "$LATEEN_CACHE/.istio-oracle.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir "$work/worlds" "$work/answers"
cargo run --quiet --package lateen-compile --example istiod worlds 500 "$work/worlds"
(cd "$here" && ORACLE_WORLDS="$work/worlds" ORACLE_ANSWERS="$work/answers" GOFLAGS="-mod=mod -buildvcs=false" \
    "$go" test -vet=off -count=1 -timeout 60m . >"$work/log" 2>&1) || { tail -n 40 "$work/log" >&2; exit 1; }
cargo run --quiet --package lateen-compile --example istiod record "$work/answers" |
    awk -v folder=xds-server/compile/tests/istiod '/^# world /{n=int($3/125)} {print > (folder "/answers-" n ".txt")}'
