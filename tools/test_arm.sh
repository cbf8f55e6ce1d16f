#!/usr/bin/env bash
# Builds kernels/ for Arm and runs its tests under emulation: NEON, the dot products of Armv8.2, the matrix products of
# Armv8.6. Timings mean nothing there. usage: test_arm.sh [BUILD-FOLDER]
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:-build}/arm
gtest=/usr/src/googletest/googletest
tools/install_deps.sh g++-aarch64-linux-gnu qemu-user libgtest-dev

mkdir -p "$build"
compiler=(ccache aarch64-linux-gnu-g++ -std=c++20 -O3 -ffp-contract=off -DMESH_KERNELS_ARM -I. -isystem "$gtest/include"
  -Wall -Wextra -Werror -Wno-missing-field-initializers -Wno-array-bounds -Wno-restrict -Wno-stringop-overflow)
objects=()
compile() { # source, flags …
  local object=$build/${1//\//_}.o
  objects+=("$object")
  "${compiler[@]}" "${@:2}" -c "$1" -o "$object"
}
for source in kernels/cpu/*.cc kernels/cpu/reference/*.cc kernels/cpu/neon/*.cc; do
  case $source in
    *_dotprod.cc) compile "$source" -march=armv8.2-a+dotprod ;;
    *_i8mm.cc) compile "$source" -march=armv8.2-a+dotprod+i8mm ;;
    *) compile "$source" ;;
  esac
done
compile "$gtest/src/gtest-all.cc" -I "$gtest"
compile "$gtest/src/gtest_main.cc"

status=0
for test in kernels/*_test.cc; do
  program=$build/$(basename "$test" .cc)
  "${compiler[@]}" "$test" "${objects[@]}" -o "$program"
  echo "== $(basename "$program") on aarch64"
  qemu-aarch64 -L /usr/aarch64-linux-gnu -cpu max "$program" --gtest_brief=1 || status=1
done
exit $status
