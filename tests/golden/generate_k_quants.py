#!/usr/bin/env python3
"""Writes k_quants.json: random blocks of GGUF's K-quants, and what llama.cpp's gguf-py makes of them (float32, as bits)."""

import json
import pathlib

import numpy
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, quants

OUT = pathlib.Path(__file__).parent / "k_quants.json"
BLOCKS = 3


def case(kind, halves, random):
    """Random bytes, with scales that are finite: `halves` are where a block's fp16 numbers lie."""
    _, size = GGML_QUANT_SIZES[kind]
    blocks = random.integers(0, 256, (BLOCKS, size), dtype=numpy.uint8)
    for place in halves:
        blocks[:, place:place + 2] = random.normal(0, 0.01, BLOCKS).astype(numpy.float16).view(numpy.uint8).reshape(-1, 2)
    values = quants.dequantize(blocks.reshape(-1), kind).astype(numpy.float32)
    return dict(type=kind.name, bytes=blocks.tobytes().hex(), bits=[int(bits) for bits in values.view(numpy.uint32)])


def main():
    random = numpy.random.default_rng(7)
    cases = [case(GGMLQuantizationType.Q4_K, (0, 2), random), case(GGMLQuantizationType.Q5_K, (0, 2), random),
             case(GGMLQuantizationType.Q6_K, (208,), random)]
    OUT.write_text(json.dumps(cases) + "\n")


if __name__ == "__main__":
    main()
