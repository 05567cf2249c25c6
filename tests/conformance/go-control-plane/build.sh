#!/bin/sh
# Builds the target against the released go-control-plane of go.mod, or, with the folder of a checkout as second
# argument, against that.
#   build.sh OUTPUT [CHECKOUT]
set -eu
output=$(realpath -m "$1")
checkout=${2:+$(realpath "$2")}
cd "$(dirname "$0")"
if [ -z "$checkout" ]; then
	exec go build -o "$output" .
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp ./*.go go.mod go.sum "$work"
cd "$work"
go mod edit \
	-replace "github.com/envoyproxy/go-control-plane=$checkout" \
	-replace "github.com/envoyproxy/go-control-plane/envoy=$checkout/envoy" \
	-replace "github.com/envoyproxy/go-control-plane/ratelimit=$checkout/ratelimit"
go mod tidy
go build -o "$output" .
