#!/bin/sh
# The conformance suite on go-control-plane, and the report beside that of our server, which tools/conformance.sh left
# in target/conformance. Every case that go-control-plane fails stands in docs/conformance.md, with the clause: another
# one may be unfair to it, and fails this.
#   tools/conformance-compare.sh LATEEN [CHECKOUT]     with a checkout of go-control-plane: that one
set -eu
cd "$(dirname "$0")/.."
. tools/env.sh
lateen=$1
checkout=${2:-}
reports=target/conformance
target=$(tests/conformance/go-control-plane/build.sh $checkout)
name=$(sed -n 's|^\tgithub.com/envoyproxy/go-control-plane \(v[^ ]*\)$|go-control-plane \1|p' \
    tests/conformance/go-control-plane/go.mod)
[ -z "$checkout" ] || name="go-control-plane $(git -C "$checkout" rev-parse --short HEAD 2>/dev/null || echo HEAD)"
logs=$(mktemp -d)
"$target" >"$logs/out" 2>"$logs/log" &
server=$!
trap 'kill $server 2>/dev/null || true; rm -rf "$logs"' EXIT INT TERM

# That cases fail is what is shown here.
"$lateen" conformance run --name "$name" --target "$(said "$logs/out" xDS)" --control "lateen=$(said "$logs/out" control)" \
    --json "$reports/go-control-plane.json" --html "$reports/go-control-plane.html" >"$reports/go-control-plane.txt" ||
    [ $? = 1 ]
tail -n 1 "$reports/go-control-plane.txt"
"$lateen" conformance compare "$reports/report.json" "$reports/go-control-plane.json" >"$reports/side-by-side.md"
[ -z "$checkout" ] || exit 0
grep -o '^| [A-L][0-9]* |' "$reports/side-by-side.md" | while read -r row; do
    grep -qF "$row" docs/conformance.md || { echo "fails, and is not in docs/conformance.md: $row" >&2 && exit 1; }
done
