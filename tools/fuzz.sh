#!/bin/sh
# Fuzzes every parser of outside bytes for 60 s each: with libFuzzer where a nightly toolchain is at hand, the same
# bodies under proptest on stable otherwise.
#   tools/fuzz.sh [SECONDS]
set -eu
cd "$(dirname "$0")/.."
. tools/env.sh
seconds=${1:-60}
targets="config expressions xds_requests subscription_names"

nightly() {
    command -v rustup >/dev/null 2>&1 && rustup toolchain list 2>/dev/null | grep -q '^nightly'
}

install_cargo_fuzz() {
    [ -x "$LATEEN_CACHE/bin/cargo-fuzz" ] && return
    say "building cargo-fuzz into $LATEEN_CACHE/bin"
    cargo install --quiet --root "$LATEEN_CACHE" cargo-fuzz
}

build() {
    CARGO_TARGET_DIR="$LATEEN_CACHE/fuzz-target" PATH="$LATEEN_CACHE/bin:$PATH" \
        cargo +nightly fuzz build --fuzz-dir fuzz/libfuzzer
}

if nightly && with_lock cargo-fuzz install_cargo_fuzz && say "building the fuzz targets" && build; then
    for target in $targets; do
        say "fuzzing $target with libFuzzer for $seconds s"
        log=$LATEEN_CACHE/fuzz-$target.log
        if ! CARGO_TARGET_DIR="$LATEEN_CACHE/fuzz-target" PATH="$LATEEN_CACHE/bin:$PATH" \
            cargo +nightly fuzz run "$target" --fuzz-dir fuzz/libfuzzer -- \
            -max_total_time="$seconds" -max_len=65536 -rss_limit_mb=4096 >"$log" 2>&1; then
            tail -n 60 "$log"
            exit 1
        fi
        tail -n 2 "$log"
    done
else
    say "no usable nightly toolchain: the same bodies run under proptest on stable, $seconds s each"
    LATEEN_FUZZ_SECONDS=$seconds cargo test --quiet --workspace --test bodies -- \
        --nocapture --test-threads 1
fi
