#!/bin/sh
# The conformance suite on our server and a replica of it; the reports are left in target/conformance.
#   tools/conformance.sh LATEEN [REPEAT [FLAGS…]]
set -eu
cd "$(dirname "$0")/.."
. tools/env.sh
lateen=$1
repeat=${2:-2}
[ $# -lt 2 ] || shift
shift
reports=target/conformance
mkdir -p "$reports"
logs=$(mktemp -d)
first= second=
stop() {
    kill $first $second 2>/dev/null || true
    wait $first $second 2>/dev/null || true
    rm -rf "$logs"
}
trap stop EXIT INT TERM

"$lateen" --log off conformance serve --listen 127.0.0.1:0 --control 127.0.0.1:0 >"$logs/first" &
first=$!
"$lateen" --log off conformance serve --listen 127.0.0.1:0 --control 127.0.0.1:0 >"$logs/second" &
second=$!

"$lateen" conformance run --name lateen \
    --target "$(said "$logs/first" xDS)" --control "lateen=$(said "$logs/first" control)" \
    --replica "$(said "$logs/second" xDS)" --replica-control "lateen=$(said "$logs/second" control)" \
    --repeat "$repeat" --json "$reports/report.json" --junit "$reports/report.xml" --html "$reports/report.html" "$@"
