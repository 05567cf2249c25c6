#!/bin/sh
# The control plane under load, against its floor, and the engine's cost in instructions.
#   tools/bench.sh [quick|cost]
set -eu
cd "$(dirname "$0")/.."

# Instructions of one change, event to names told, in meshes of two sizes: work follows the change, not the mesh.
cost() {
    cargo build --release --quiet --package lateen-compile --example cost
    for what in endpoint route service; do
        for services in 1000 10000; do
            counted=$(valgrind --tool=callgrind --callgrind-out-file=/dev/null --collect-atstart=no \
                --toggle-collect='cost::measured*' target/release/examples/cost "$services" 100 "$what" 2>&1 |
                awk '/Collected/ { print $4 }')
            echo "$what, $services services: $((counted / 100)) instructions"
        done
    done
}

if [ "${1:-}" = cost ]; then
    cost
    exit
fi
cargo build --release --quiet --bin lateen --bin xds-bench
bench=target/release/xds-bench
if [ "${1:-}" = quick ]; then
    exec "$bench" --services 100 --namespaces 5 --clients 50 --rounds 3
fi
for clients in 200 1000 2000; do
    "$bench" --clients "$clients"
    echo
done
"$bench" --clients 200 --sotw
echo
"$bench" --clients 2000 --sotw
echo
"$bench" --clients 2000 --vhds
echo
cost
