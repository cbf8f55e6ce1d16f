#!/usr/bin/env python3
"""Writes rope.json: rotary frequencies of many settings, as transformers computes them (float32)."""

import json
import pathlib

import torch
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

OUT = pathlib.Path(__file__).parent / "rope.json"

CASES = [
    dict(type="default", theta=10000.0, head_dim=64, max_positions=2048),
    dict(type="default", theta=1e6, head_dim=128, max_positions=32768),
    dict(type="linear", theta=10000.0, head_dim=128, max_positions=4096, factor=4.0),
    dict(type="dynamic", theta=10000.0, head_dim=128, max_positions=4096, factor=2.0, max_model_len=4096),
    dict(type="dynamic", theta=10000.0, head_dim=128, max_positions=4096, factor=2.0, max_model_len=1024),
    dict(type="dynamic", theta=10000.0, head_dim=64, max_positions=2048, factor=4.0, max_model_len=8192),
    dict(type="llama3", theta=500000.0, head_dim=128, max_positions=131072, factor=8.0, low_freq_factor=1.0,
         high_freq_factor=4.0, original_max_positions=8192),
    dict(type="llama3", theta=500000.0, head_dim=64, max_positions=131072, factor=32.0, low_freq_factor=1.0,
         high_freq_factor=4.0, original_max_positions=8192),
    dict(type="yarn", theta=1e6, head_dim=128, max_positions=131072, factor=4.0, original_max_positions=32768),
    dict(type="yarn", theta=10000.0, head_dim=64, max_positions=65536, factor=16.0, original_max_positions=4096,
         beta_fast=16.0, beta_slow=2.0, attention_factor=1.25),
    dict(type="yarn", theta=10000.0, head_dim=64, max_positions=163840, factor=40.0, original_max_positions=4096,
         mscale=1.0, mscale_all_dim=0.707),
    dict(type="yarn", theta=150000.0, head_dim=64, max_positions=131072, factor=32.0, original_max_positions=4096,
         truncate=False),
]
SPELLING = dict(original_max_positions="original_max_position_embeddings")


def frequencies(case):
    parameters = dict(rope_type=case["type"], rope_theta=case["theta"])
    for field, value in case.items():
        if field not in ("type", "theta", "head_dim", "max_positions", "max_model_len"):
            parameters[SPELLING.get(field, field)] = value
    config = LlamaConfig(hidden_size=case["head_dim"], num_attention_heads=1, num_key_value_heads=1,
                         head_dim=case["head_dim"], max_position_embeddings=case["max_positions"],
                         rope_parameters=parameters)
    if case["type"] == "default":
        return LlamaRotaryEmbedding.compute_default_rope_parameters(config)
    seq_len = case.get("max_model_len") if case["type"] == "dynamic" else None
    return ROPE_INIT_FUNCTIONS[case["type"]](config, torch.device("cpu"), seq_len=seq_len)


def main():
    out = []
    for case in CASES:
        inverse, attention_factor = frequencies(case)
        out.append(dict(case, expected_inverse=inverse.tolist(), expected_attention_factor=float(attention_factor)))
    OUT.write_text("[\n" + ",\n".join(json.dumps(case) for case in out) + "\n]\n")
    print(f"{OUT.name}: {len(out)} settings")


if __name__ == "__main__":
    main()
