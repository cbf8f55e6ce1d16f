#!/usr/bin/env python3
"""Writes quantized.safetensors and quantized.json: small weights in the formats of Hugging Face's quantizers.

compressed-tensors and its FP8 are stored and read back by the library itself. GPTQ, AWQ and blocked FP8 are packed here
as their formats are published. `CASE.expected` are the values in float32, `CASE.*` the module's tensors.
"""

import json
import pathlib

import numpy
import torch
from compressed_tensors.compressors.naive_quantized.base import NaiveQuantizationCompressor
from compressed_tensors.compressors.pack_quantized.base import PackedQuantizationCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).parent
ROWS, COLUMNS = 16, 128
AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]

random = numpy.random.default_rng(11)
tensors = {}
configs = {}


def add(case, config, parts, expected):
    configs[case] = config
    for name, tensor in parts.items():
        tensors[f"{case}.{name}"] = torch.as_tensor(tensor).contiguous().clone()
    tensors[f"{case}.expected"] = torch.as_tensor(expected).to(torch.float32).contiguous().clone()


def pack(codes, bits):
    """Consecutive unsigned codes of the last axis into int32 words, the first in the lowest bits."""
    per_word = 32 // bits
    words = codes.reshape(*codes.shape[:-1], -1, per_word).astype(numpy.uint64)
    shifts = numpy.arange(per_word, dtype=numpy.uint64) * numpy.uint64(bits)
    return (words << shifts).sum(-1).astype(numpy.uint32).view(numpy.int32)


def grid(bits, group, symmetric):
    """Random codes [rows, columns], zero points and fp16 scales [rows, groups]."""
    groups = COLUMNS // group
    codes = random.integers(0, 1 << bits, (ROWS, COLUMNS))
    zeros = numpy.full((ROWS, groups), 1 << (bits - 1)) if symmetric else random.integers(1, 1 << bits, (ROWS, groups))
    scales = random.uniform(0.001, 0.02, (ROWS, groups)).astype(numpy.float16)
    return codes, zeros, scales


def dequantize(codes, zeros, scales, index):
    return (codes - zeros[:, index]).astype(numpy.float32) * scales[:, index].astype(numpy.float32)


def gptq(case, bits, group, symmetric, v2=False, desc_act=False):
    codes, zeros, scales = grid(bits, COLUMNS if group == -1 else group, symmetric)
    index = numpy.arange(COLUMNS) // (COLUMNS if group == -1 else group)
    if desc_act:
        index = random.permutation(index)
    config = dict(quant_method="gptq", bits=bits, group_size=group, sym=symmetric, desc_act=desc_act)
    if v2:
        config["checkpoint_format"] = "gptq_v2"
    parts = dict(qweight=pack(codes, bits).T, qzeros=pack((zeros - (0 if v2 else 1)).T, bits), scales=scales.T,
                 g_idx=index.astype(numpy.int32), bias=numpy.zeros(ROWS, numpy.float16))
    add(case, config, parts, dequantize(codes, zeros, scales, index))


def awq(case, group):
    codes, zeros, scales = grid(4, group, symmetric=False)

    def words(of_columns):
        return pack(of_columns.reshape(of_columns.shape[0], -1, 8)[:, :, AWQ_ORDER].reshape(of_columns.shape[0], -1), 4)

    parts = dict(qweight=words(codes.T), qzeros=words(zeros.T), scales=scales.T)
    add(case, dict(quant_method="awq", bits=4, group_size=group, zero_point=True, version="gemm"), parts,
        dequantize(codes, zeros, scales, numpy.arange(COLUMNS) // group))


def compressed(case, compressor, form, scale_type=torch.bfloat16, group_index=None, **arguments):
    args = QuantizationArgs(**arguments)
    scheme = QuantizationScheme(targets=["Linear"], weights=args)
    weight = torch.from_numpy(random.normal(0.01, 0.05, (ROWS, COLUMNS)).astype(numpy.float32))
    strategy = args.strategy
    if strategy == "block":
        rows, columns = args.block_structure
        blocks = torch.nn.functional.pad(weight, (0, -COLUMNS % columns, 0, -ROWS % rows))
        blocks = blocks.reshape(blocks.shape[0] // rows, rows, -1, columns).transpose(1, 2).flatten(2)
    else:
        groups = COLUMNS // args.group_size if strategy == "group" else 1
        blocks = weight.reshape(1 if strategy == "tensor" else ROWS, groups, -1)
    low, high = blocks.amin(-1), blocks.amax(-1)
    if args.type == "float":
        scale, zero = torch.maximum(-low, high) / 448, None
    elif args.symmetric:
        scale, zero = torch.maximum(-low, high) / (2 ** (args.num_bits - 1) - 0.5), None
    else:
        middle = 2 ** (args.num_bits - 1)
        scale = (high - low) / (2 * middle - 1)
        zero = (torch.round(-low / scale) - middle).clamp(-middle, middle - 1).to(torch.int8)
    scale = scale.to(scale_type)
    if strategy == "tensor":
        scale = scale.reshape(1)
        zero = None if zero is None else zero.reshape(1)
    state = dict(weight=weight, weight_scale=scale)
    if zero is not None:
        state["weight_zero_point"] = zero
    stored = compressor.compress(state, scheme)
    values = compressor.decompress(dict(stored, weight_scale=scale.float()), scheme)["weight"]
    config = dict(quant_method="compressed-tensors", format=form, quantization_status="compressed", ignore=["lm_head"],
                  config_groups=dict(group_0=dict(targets=["Linear"], weights=json.loads(args.model_dump_json()))))
    add(case, config, stored, values)


def fp8_blocks(case, block):
    weight = torch.from_numpy(random.normal(0, 0.05, (ROWS, COLUMNS)).astype(numpy.float32))
    scale = torch.empty(-(-ROWS // block[0]), -(-COLUMNS // block[1]))
    stored = torch.empty(ROWS, COLUMNS, dtype=torch.float8_e4m3fn)
    values = torch.empty(ROWS, COLUMNS)
    for row in range(scale.shape[0]):
        for column in range(scale.shape[1]):
            place = (slice(row * block[0], (row + 1) * block[0]), slice(column * block[1], (column + 1) * block[1]))
            scale[row, column] = weight[place].abs().max() / 448
            stored[place] = (weight[place] / scale[row, column]).to(torch.float8_e4m3fn)
            values[place] = stored[place].float() * scale[row, column]
    add(case, dict(quant_method="fp8", activation_scheme="dynamic", weight_block_size=list(block)),
        dict(weight=stored, weight_scale_inv=scale), values)


def fp8_tensor(case):
    stored = torch.from_numpy(random.normal(0, 50, (ROWS, COLUMNS)).astype(numpy.float32)).to(torch.float8_e4m3fn)
    scale = torch.tensor(0.0013)  # shape []
    add(case, dict(quant_method="fp8", activation_scheme="static"),
        dict(weight=stored, weight_scale=scale, input_scale=torch.tensor(0.02)), stored.float() * scale)


def every_e4m3(case):
    stored = torch.arange(256, dtype=torch.uint8).reshape(2, 128).view(torch.float8_e4m3fn)
    add(case, dict(quant_method="fp8"), dict(weight=stored, weight_scale=torch.tensor(1.0)), stored.float())


def main():
    gptq("gptq_int4", 4, 32, symmetric=True)
    gptq("gptq_int4_zeros", 4, 64, symmetric=False)
    gptq("gptq_int4_v2", 4, 32, symmetric=False, v2=True)
    gptq("gptq_int4_rows", 4, -1, symmetric=True)
    gptq("gptq_int4_desc_act", 4, 32, symmetric=True, desc_act=True)
    gptq("gptq_int8", 8, 32, symmetric=True)
    gptq("gptq_int8_zeros", 8, 64, symmetric=False)
    awq("awq_32", 32)
    awq("awq_128", 128)
    packed, naive = PackedQuantizationCompressor, NaiveQuantizationCompressor
    group = dict(num_bits=4, strategy="group", group_size=32)
    compressed("w4a16", packed, "pack-quantized", symmetric=True, **group)
    compressed("w4a16_half", packed, "pack-quantized", torch.float16, symmetric=True, **group)
    compressed("w4a16_zeros", packed, "pack-quantized", symmetric=False, **group)
    compressed("w8a16_rows", packed, "pack-quantized", num_bits=8, strategy="channel", symmetric=True)
    compressed("w8a16_zeros", packed, "pack-quantized", num_bits=8, strategy="group", group_size=32, symmetric=False)
    compressed("w8a8", naive, "int-quantized", num_bits=8, strategy="channel", symmetric=True)
    compressed("w8a8_single", naive, "int-quantized", num_bits=8, strategy="tensor", symmetric=True)
    compressed("w8a8_zeros", naive, "int-quantized", num_bits=8, strategy="channel", symmetric=False)
    compressed("float_single", naive, "float-quantized", num_bits=8, type="float", strategy="tensor", symmetric=True)
    compressed("float_rows", naive, "float-quantized", num_bits=8, type="float", strategy="channel", symmetric=True)
    compressed("float_blocks", naive, "float-quantized", num_bits=8, type="float", strategy="block",
               block_structure=[12, 48], symmetric=True)
    fp8_blocks("fp8_blocks", (12, 48))
    fp8_tensor("fp8_single")
    every_e4m3("every_e4m3")
    save_file(tensors, HERE / "quantized.safetensors")
    (HERE / "quantized.safetensors").chmod(0o644)
    (HERE / "quantized.json").write_text(json.dumps(configs, indent=1) + "\n")


if __name__ == "__main__":
    main()
