#!/usr/bin/env bash
# clang-format, clang-tidy, headers self-contained, cargo fmt and clippy: nothing may be said.
# usage: lint.sh BUILD [FILE …]   (files: the .cc files to look at; all when absent)
set -euo pipefail
cd "$(dirname "$0")/.."
build=$1
shift
jobs=$(nproc)

mapfile -t sources < <(git ls-files -co --exclude-standard '*.cc' '*.h' | xargs ls 2> /dev/null)
echo "clang-format: ${#sources[@]} files"
clang-format --dry-run --Werror "${sources[@]}"

tools/tidy.py "$build" "$@"

# Not those in the intrinsics of one instruction set, which need its flags: its kernels include them.
intrinsics='^kernels/cpu/(avx2|avx512|neon)/(vec16|integer_unit)\.h$'
mapfile -t headers < <(git ls-files -co --exclude-standard '*.h' | grep -Ev -e '^text/rust/' -e "$intrinsics")
echo "headers are self-contained: ${#headers[@]} files"
printf '%s\n' "${headers[@]}" | xargs -P "$jobs" -I {} \
  sh -c 'echo "#include \"{}\"" | g++ -std=c++20 -fsyntax-only -x c++ -DMESH_SOURCE_DIR=\".\" -I . -I "$0/proto" -' "$build"

echo "cargo fmt, clippy"
(cd text/rust && cargo fmt --check && cargo clippy --quiet --locked --target-dir "../../$build/text-rust-lint" -- -D warnings)
echo "lint: clean"
