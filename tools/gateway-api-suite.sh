#!/bin/sh
# Runs the requests of the official Gateway API conformance suite (HTTPRoute, GRPCRoute, Gateway, mesh) against
# `lateen serve` and stock Envoys, without Kubernetes. The suite comes from the Go module registry and is built once
# into the cache; nothing of it is in this repository. Needs root, for network namespaces.
#   tools/gateway-api-suite.sh LATEEN [--table FILE] [--test NAME]
# Fails if an answer is not the suite's and docs/gateway-api.md does not say why. With --table the results are written
# there, between the marks.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
. "$here/tools/env.sh"
[ $# -ge 1 ] || { echo "usage: $0 LATEEN [--table FILE] [--test NAME]" >&2; exit 2; }
lateen=$(realpath "$1")
shift
table=
SUITE_TEST=
while [ $# -gt 1 ]; do
    case $1 in
    --table) table=$(realpath "$2") ;;
    --test) SUITE_TEST=$2 ;;
    *) echo "unknown flag $1" >&2 && exit 2 ;;
    esac
    shift 2
done
source=$here/tests/gateway-api
built=$LATEEN_CACHE/gateway-api-suite
envoy=${LATEEN_ENVOY:-$("$here/tools/fetch-envoy.sh" | tail -n 1)}

build() {
    wanted=$(cat "$source"/*.go "$source"/go.mod "$source"/go.sum | cksum)
    [ "$(cat "$built/.built" 2>/dev/null)" = "$wanted" ] && return
    go=$("$here/tools/fetch-go.sh")
    mkdir -p "$built"
    say "building the Gateway API suite from the Go module registry" >&2
    # Modules and objects stay: a change of the runner is built in seconds.
    export GOMODCACHE="${GOMODCACHE:-$built/modules}" GOCACHE="${GOCACHE:-$built/objects}" GOTOOLCHAIN=local
    export GOFLAGS="-buildvcs=false -mod=readonly -modcacherw"
    (cd "$source" && "$go" test -c -o "$built/suite" . &&
        "$go" build -o "$built/echo" sigs.k8s.io/gateway-api/conformance/echo-basic)
    echo "$wanted" >"$built/.built"
}

with_lock gateway-api-suite build
SUITE_LOGS=${SUITE_LOGS:-$(mktemp -d)}
export SUITE_LOGS SUITE_TEST LATEEN_BIN="$lateen" LATEEN_ENVOY="$envoy" SUITE_ECHO="$built/echo"
mkdir -p "$SUITE_LOGS"
began=$(date +%s)
# A network namespace of its own: the suite wants the ports that gateways have, and many addresses with each.
unshare --net sh -c 'ip link set lo up 2>/dev/null; exec "$0" -test.v -test.timeout 20m' "$built/suite" \
    >"$SUITE_LOGS/suite.log" 2>&1 || true
[ -s "$SUITE_LOGS/outcomes.json" ] || { tail -n 40 "$SUITE_LOGS/suite.log" >&2; exit 1; }
say "ran in $(($(date +%s) - began)) s; logs: $SUITE_LOGS"
python3 "$source/report.py" "$SUITE_LOGS" "$here/docs/gateway-api.md" ${table:+--write "$table"}
