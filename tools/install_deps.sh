#!/usr/bin/env bash
# Installs the Debian 12 packages that the build, the tests and the lint need, if any is missing. Says what it does.
# usage: install_deps.sh [FURTHER-PACKAGE …]
set -euo pipefail

packages=(
  ca-certificates git g++ cmake ninja-build ccache mold pkg-config make
  libgrpc++-dev protobuf-compiler-grpc libprotobuf-dev protobuf-compiler libabsl-dev libssl-dev libnghttp2-dev
  libboost1.81-dev libyaml-cpp-dev prometheus-cpp-dev libspdlog-dev nlohmann-json3-dev libcli11-dev libmimalloc-dev
  libgtest-dev libgmock-dev
  clang-format clang-tidy
  python3 python3-venv python3-pip curl
  "$@"
)

# The Rust crates of text/ need a newer Rust than Debian 12's rustc; Debian's rustc-web serves. A newer one of the
# user's own is taken as it is.
minimum_rust=85  # 1.85: edition 2024
have_rust() {
  command -v cargo > /dev/null && [ "$(rustc --version | sed -E 's/rustc 1\.([0-9]+).*/\1/')" -ge "$minimum_rust" ]
}
have_rust || packages+=(rustc-web cargo-web)

missing=()
for package in "${packages[@]}"; do
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2> /dev/null)" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

echo "installing: ${missing[*]}"
sudo=()
[ "$(id -u)" = 0 ] || sudo=(sudo)
"${sudo[@]}" apt-get update -qq
DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" > /dev/null
