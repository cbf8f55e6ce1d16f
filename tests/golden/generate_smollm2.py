#!/usr/bin/env python3
"""Writes smollm2.json: what transformers (float32, its own GGUF reader) says about SmolLM2-135M-Instruct.

usage: generate_smollm2.py PATH/SmolLM2-135M-Instruct.Q4_1.gguf
"""

import json
import pathlib
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

OUT = pathlib.Path(__file__).parent / "smollm2.json"
GREEDY_TOKENS = 24
TOP = 8
SPREAD = range(11, 49152, 1024)  # ids whose logits are kept whatever their rank, so that the tail is held too

PROMPTS = [
    "What is the capital of France?",
    "Write one sentence about the sea.",
    "List three prime numbers and say why each of them is prime.",
]


@torch.no_grad()
def describe(model, prompt):
    ids = list(prompt)
    rows = []
    for _ in range(GREEDY_TOKENS):
        logits = model(torch.tensor([ids]), use_cache=False).logits[0, -1]
        top = logits.topk(TOP)
        rows.append(dict(top_ids=top.indices.tolist(), top_logits=top.values.tolist(), std=logits.std().item(),
                         spread_logits=logits[list(SPREAD)].tolist()))
        ids.append(int(logits.argmax()))
    return dict(prompt=prompt, greedy=ids[len(prompt):], rows=rows)


def main():
    path = pathlib.Path(sys.argv[1])
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32,
                                                 attn_implementation="eager").eval()
    sequences = []
    for prompt in PROMPTS:
        ids = tokenizer.apply_chat_template([{"role": "user", "content": prompt}], add_generation_prompt=True,
                                            return_dict=True)["input_ids"]
        sequences.append(describe(model, ids))
        print(repr(tokenizer.decode(sequences[-1]["greedy"])))
    rounded = json.loads(json.dumps(dict(spread_ids=list(SPREAD), sequences=sequences)),
                         parse_float=lambda text: round(float(text), 6))
    OUT.write_text(json.dumps(rounded) + "\n")
    print(f"{OUT.name}: {OUT.stat().st_size} bytes")


if __name__ == "__main__":
    main()
