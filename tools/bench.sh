#!/bin/sh
# The control plane under load, against its floor, and the engine's cost in instructions.
#   tools/bench.sh [quick]
set -eu
cd "$(dirname "$0")/.."
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
