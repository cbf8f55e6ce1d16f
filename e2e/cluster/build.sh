#!/usr/bin/env bash
# Builds the programs of a real Kubernetes from pinned Go modules (modules/*) into a cache folder; says nothing and does
# nothing where they are there already. Prints the folder on its last line.
# usage: build.sh [api|all]   api: etcd, kube-apiserver, kubectl; all (default): everything of a two-node cluster
set -euo pipefail
cd "$(dirname "$0")"

what=${1:-all}
case $what in api | all) ;; *) echo "usage: build.sh [api|all]" >&2; exit 2 ;; esac
cache=${SLM_MESH_CLUSTER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/slm-mesh/cluster-bin}

# Debian 12's Go is too old for Kubernetes, but it fetches a newer one, which is a module like any other (its checksum is
# in Go's checksum database). A newer Go of the user's own is taken as it is.
minimum_go=26 toolchain=v0.0.1-go1.26.0.linux-$(dpkg --print-architecture)
have_go() { command -v go > /dev/null && [ "$(go version | sed -E 's/.* go1\.([0-9]+).*/\1/')" -ge "$minimum_go" ]; }
have_go || PATH=$PATH:/usr/local/go/bin
if ! have_go; then
  own=$cache/$toolchain
  if [ ! -x "$own/bin/go" ]; then
    ../../tools/install_deps.sh golang-go >&2
    fetched=$(go mod download -json "golang.org/toolchain@$toolchain" | sed -nE 's/^\t"Dir": "(.*)",?$/\1/p')
    mkdir -p "$cache"
    rm -rf "$own.new"
    cp -r "$fetched" "$own.new"
    chmod -R u+w "$own.new"
    chmod +x "$own.new"/bin/* "$own.new"/pkg/tool/*/*   # a module's files are not executable
    mv "$own.new" "$own"
  fi
  PATH=$own/bin:$PATH
fi
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
  # Debian's Prometheus cannot discover pods: it is built without the Kubernetes client.
  build prometheus github.com/prometheus/prometheus/cmd/prometheus prometheus
fi
echo "$folder"
