#!/bin/sh
# The control plane under load, against its floor, and the engine's cost in instructions.
#   tools/bench.sh [quick|cost|large|analysis]
set -eu
cd "$(dirname "$0")/.."

# Instructions of one change, event to names told, in meshes of two sizes: work follows the change, not the mesh.
cost() {
    cargo build --release --quiet --package lateen-compile --example cost
    for what in endpoint route service; do
        for services in 1000 10000; do
            echo "$what, $services services: $(instructions "$services" 100 "$what") instructions"
        done
    done
    for routes in 1000 2000 4000; do
        echo "gateway route, $routes routes: $(instructions "$routes" 100 gateway 1) instructions"
    done
    for what in gateways names; do
        before=
        for size in 1000 2000; do
            counted=$(instructions "$size" 20 "$what" 1)
            echo "$what that share a port, $size: $counted instructions"
            [ -z "$before" ] || [ $((counted * 10)) -lt $((before * 26)) ] || { echo "the work grows faster than what is shared" >&2; exit 1; }
            before=$counted
        done
    done
    echo "gateway route, 2000 routes on 400 servers: $(instructions 2000 100 gateway 400) instructions"
    target/release/examples/cost 4000 1000 gateway 1
    target/release/examples/cost 10000 100 sidecars 400
}

# One object with many hosts: what it and its views take, what a change of it costs. Fails where the instructions grow
# faster than the object.
large() {
    cargo build --release --quiet --package lateen-compile --example cost
    for what in hosts entry servers; do
        before=
        for hosts in 2500 5000; do
            counted=$(instructions "$hosts" 2 "$what" 1)
            echo "one object, $what, $hosts: $counted instructions"
            [ -z "$before" ] || [ $((counted * 10)) -lt $((before * 26)) ] || { echo "the work grows faster than the object" >&2; exit 1; }
            before=$counted
        done
        for hosts in 25000 50000 100000; do
            target/release/examples/cost "$hosts" 2 "$what" 1
        done
    done
}

# What callgrind counts below `measured`, for each change.
instructions() {
    counted=$(valgrind --tool=callgrind --callgrind-out-file=/dev/null --collect-atstart=no \
        --toggle-collect='cost::measured*' target/release/examples/cost "$@" 2>&1 |
        awk '/Collected/ { print $4 }')
    echo $((counted / $2))
}

# Instructions of parsing and analyzing a list of n entries and of one twice as long: fails where they grow faster.
analysis() {
    cargo build --quiet --package lateen-config --example analysis
    for shape in hosts entry subsets destinations servers sni tcp export gateways services selectors; do
        before=
        for count in 1000 2000; do
            counted=$(valgrind --tool=callgrind --callgrind-out-file=/dev/null --collect-atstart=no \
                --toggle-collect='*measured*' target/debug/examples/analysis "$shape" "$count" 2>&1 |
                awk '/Collected/ { print $4 }')
            echo "analysis of $shape, $count: $counted instructions"
            [ -z "$before" ] || [ $((counted * 10)) -lt $((before * 25)) ] || { echo "the work grows faster than the list" >&2; exit 1; }
            before=$counted
        done
    done
}

case ${1:-} in
cost | large | analysis)
    "$1"
    exit
    ;;
esac
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
large
analysis
