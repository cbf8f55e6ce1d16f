#!/usr/bin/env bash
# Builds the programs of a real Kubernetes from pinned Go modules (modules/*) into a cache folder; says nothing and does
# nothing where they are there already. Prints the folder on its last line.
# usage: build.sh [api|all]   api: etcd, kube-apiserver, kubectl; all (default): everything of a two-node cluster
set -euo pipefail
cd "$(dirname "$0")"

what=${1:-all}
case $what in api | all) ;; *) echo "usage: build.sh [api|all]" >&2; exit 2 ;; esac
command -v go > /dev/null || PATH=$PATH:/usr/local/go/bin
command -v go > /dev/null || { echo "build.sh: Go 1.26 or newer is needed in PATH (https://go.dev/dl)" >&2; exit 1; }

cache=${SLM_MESH_CLUSTER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/slm-mesh/cluster-bin}
# The folder's name is what decides its contents: the modules, this script and the compiler.
key=$( (cat build.sh modules/*/go.mod modules/*/go.sum; go version) | sha256sum | cut -c1-16)
folder=$cache/$key
mkdir -p "$folder"
exec 9> "$folder/.lock"
flock 9   # two builds at once: the second waits and finds everything done

kubernetes=v1.36.3
stamp="-X k8s.io/component-base/version.gitVersion=$kubernetes -X k8s.io/component-base/version.gitMajor=1"
stamp+=" -X k8s.io/component-base/version.gitMinor=36"

# build MODULE PACKAGE PROGRAM [LDFLAGS]
build() {
  [ -x "$folder/$3" ] && return
  echo "building $3" >&2
  (cd "modules/$1" && CGO_ENABLED=0 GOFLAGS=-mod=readonly nice -n 5 \
    go build -trimpath -buildvcs=false -ldflags "-s -w ${4:-}" -o "$folder/.$3.new" "$2")
  mv "$folder/.$3.new" "$folder/$3"
}

build etcd go.etcd.io/etcd/server/v3 etcd
build kubernetes k8s.io/kubernetes/cmd/kube-apiserver kube-apiserver "$stamp"
build kubernetes k8s.io/kubernetes/cmd/kubectl kubectl "$stamp"
if [ "$what" = all ]; then
  for program in kube-controller-manager kube-scheduler kubelet kube-proxy; do
    build kubernetes "k8s.io/kubernetes/cmd/$program" "$program" "$stamp"
  done
  build helm helm.sh/helm/v3/cmd/helm helm "-X helm.sh/helm/v3/internal/version.version=v3.19.0"
  build coredns github.com/coredns/coredns coredns
fi
echo "$folder"
