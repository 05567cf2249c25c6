#!/bin/sh
# Builds the real servers of the tests from the Go module registry into the cache, each once: etcd, Consul, Nomad,
# Kubernetes' API server, controller manager and kubectl. About 20 minutes on two cores when nothing is there.
#   tests/servers/build.sh [NAME…]
# Consul and Nomad are under the BUSL: they are run here as test servers and are not distributed.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
. tools/env.sh
bin=$LATEEN_CACHE/servers/bin
mkdir -p "$bin"

kubernetes=1.37.2
component=k8s.io/component-base/version
kubernetes_flags="-X $component.gitVersion=v$kubernetes -X $component.gitMajor=1 -X $component.gitMinor=37 \
-X $component.gitTreeState=clean -X $component.gitCommit=unknown -X $component.buildDate=2026-01-01T00:00:00Z"

# compile MODULE CGO BINARY PACKAGE [LINKER FLAGS]
compile() {
    (cd "$here/$1" && CGO_ENABLED=$2 "$go" build -ldflags "-s -w ${5:-}" -o "$bin/.$3.new" "$4")
    mv "$bin/.$3.new" "$bin/$3"
}

packages() {
    case $1 in
    etcd)
        compile etcd 0 etcd go.etcd.io/etcd/server/v3
        compile etcd 0 etcdctl go.etcd.io/etcd/etcdctl/v3
        ;;
    consul) compile consul 0 consul github.com/hashicorp/consul ;;
    # Its executor needs C.
    nomad) compile nomad 1 nomad github.com/hashicorp/nomad ;;
    k8s)
        compile k8s 0 kube-apiserver k8s.io/kubernetes/cmd/kube-apiserver "$kubernetes_flags"
        compile k8s 0 kube-controller-manager k8s.io/kubernetes/cmd/kube-controller-manager "$kubernetes_flags"
        compile k8s 0 kubectl k8s.io/kubernetes/cmd/kubectl "$kubernetes_flags"
        ;;
    *) echo "unknown server $1: etcd, consul, nomad, k8s" >&2 && exit 2 ;;
    esac
}

build() {
    stamp=$bin/.$1.built
    wanted=$(cat "$here/$1/go.mod" "$here/$1/go.sum" | cksum)
    [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && return
    go=$(tools/fetch-go.sh)
    # Modules and objects of one server take up to 5 GB: they go when it is built.
    work=$(mktemp -d "$LATEEN_CACHE/.build-$1.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    export GOMODCACHE="$work/modules" GOCACHE="$work/objects" GOTOOLCHAIN=local
    export GOFLAGS="-trimpath -buildvcs=false -mod=readonly -modcacherw"
    say "building $1 from the Go module registry (log: $bin/$1.log)"
    began=$(date +%s)
    if ! packages "$1" >"$bin/$1.log" 2>&1; then
        tail -n 40 "$bin/$1.log" >&2
        exit 1
    fi
    echo "$wanted" >"$stamp"
    say "$1 built in $(($(date +%s) - began)) s"
}

for name in ${*:-etcd consul nomad k8s}; do
    with_lock "server-$name" build "$name"
done
