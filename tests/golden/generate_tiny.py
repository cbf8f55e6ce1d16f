#!/usr/bin/env python3
"""Writes models/NAME: tiny random models of every family, each with what transformers says about it.

A folder is a whole Hugging Face model (config, safetensors, a byte-level tokenizer) plus
  oracle.json  sequences: prompt ids, greedy ids, the positions whose logits are kept, max_model_len
  oracle.f32   those logits, little-endian float32, [all rows, vocabulary]
The reference is float32, eager attention, no cache.
"""

import json
import pathlib
import shutil

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, PreTrainedTokenizerFast,
                          Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM)
from transformers.utils import logging

OUT = pathlib.Path(__file__).parent / "models"
PROMPT_TOKENS = 40
GREEDY_TOKENS = 24
WEIGHT_STD = 0.16  # wider than the families' 0.02: greedy output would be nearly flat and prove little

SHAPE = dict(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, intermediate_size=96,
             vocab_size=320, max_position_embeddings=128, rms_norm_eps=1e-5, bos_token_id=256, eos_token_id=257)
CHAT_TEMPLATE = ("{{ bos_token }}{% for message in messages %}<|{{ message.role }}|>{{ message.content }}"
                 "<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}")


def rope(kind, **fields):
    return dict(rope_parameters=dict(rope_type=kind, rope_theta=10000.0, **fields))


LLAMA3 = rope("llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32)

# name: (class, config, type of the saved weights, options)
MODELS = {
    "llama": (LlamaForCausalLM, LlamaConfig(**SHAPE), torch.bfloat16, {}),
    "llama_llama3_tied": (LlamaForCausalLM, LlamaConfig(**SHAPE, **LLAMA3, tie_word_embeddings=True), torch.float16, {}),
    "llama_linear": (LlamaForCausalLM, LlamaConfig(**SHAPE, **rope("linear", factor=4.0), tie_word_embeddings=True),
                     torch.bfloat16, {}),
    # The context is 64: the first sequence stays within it, the second is longer, so that theta changes.
    "llama_dynamic": (LlamaForCausalLM,
                      LlamaConfig(**{**SHAPE, "max_position_embeddings": 64}, **rope("dynamic", factor=2.0),
                                  tie_word_embeddings=True), torch.bfloat16, dict(long_prompt=96)),
    "llama_yarn": (LlamaForCausalLM,
                   LlamaConfig(**SHAPE, **rope("yarn", factor=4.0, original_max_position_embeddings=32),
                               tie_word_embeddings=True), torch.bfloat16, {}),
    "llama_bias": (LlamaForCausalLM, LlamaConfig(**SHAPE, attention_bias=True, mlp_bias=True, tie_word_embeddings=True),
                   torch.float32, {}),
    # Three KV heads and 25 slices of the MLP: shards are uneven, some are empty at degree 8.
    "llama_three_kv_heads": (LlamaForCausalLM,
                             LlamaConfig(**{**SHAPE, "hidden_size": 96, "num_attention_heads": 6,
                                            "num_key_value_heads": 3, "intermediate_size": 100},
                                         tie_word_embeddings=True), torch.bfloat16, {}),
    "llama_transformers4": (LlamaForCausalLM, LlamaConfig(**SHAPE, **LLAMA3, tie_word_embeddings=True), torch.bfloat16,
                            dict(transformers4=True)),
    "mistral": (MistralForCausalLM, MistralConfig(**SHAPE, sliding_window=16), torch.bfloat16, {}),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config(**SHAPE, tie_word_embeddings=True), torch.bfloat16, {}),
    "qwen2_window_sharded": (Qwen2ForCausalLM,
                             Qwen2Config(**SHAPE, use_sliding_window=True, sliding_window=16, max_window_layers=1),
                             torch.bfloat16, dict(shard_bytes=100_000)),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config(**SHAPE, head_dim=32, tie_word_embeddings=True), torch.bfloat16, {}),
}


def randomize(model):
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=WEIGHT_STD)
        else:
            parameter.data.add_(torch.randn_like(parameter) * 0.1)  # norms near 1, biases near 0


def save_tokenizer(folder):
    """One token a byte, then the special ones."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|begin|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<|begin|>", eos_token="<|end|>")
    fast.save_pretrained(folder)
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config["chat_template"] = CHAT_TEMPLATE
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")


def spell_as_transformers4(folder):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    parameters = config.pop("rope_parameters")
    config["rope_theta"] = parameters.pop("rope_theta")
    config["rope_scaling"] = parameters
    config["torch_dtype"] = config.pop("dtype")
    config["transformers_version"] = "4.46.0"
    path.write_text(json.dumps(config, indent=2) + "\n")


@torch.no_grad()
def describe(model, prompt, greedy_tokens, max_model_len):
    ids = list(prompt)
    for _ in range(greedy_tokens):
        ids.append(int(model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
    # The logits of the last id are of no use to greedy decoding, but a prompt alone is asked for its last row too.
    length = len(ids) - 1 if greedy_tokens else len(ids)
    logits = model(torch.tensor([ids[:length]]), use_cache=False).logits[0]
    rows = [p for p in range(length) if p % 4 == 0 or p >= len(prompt) - 1]
    top = logits[len(prompt) - 1:].topk(2).values
    print(f"  {len(prompt)} + {greedy_tokens} tokens, logit std {logits.std():.3f}, "
          f"least margin {(top[:, 0] - top[:, 1]).min():.4f}")
    return dict(prompt=ids[:len(prompt)], greedy=ids[len(prompt):], rows=rows, max_model_len=max_model_len), logits[rows]


def generate(index, name, cls, config, dtype, options):
    torch.manual_seed(1000 + index)
    folder = OUT / name
    model = cls(config)
    randomize(model)
    model.to(dtype).save_pretrained(folder, max_shard_size=options.get("shard_bytes", "1GB"))
    for file in folder.glob("*.safetensors"):
        file.chmod(0o644)  # they are written for their owner alone
    save_tokenizer(folder)
    if options.get("transformers4"):
        spell_as_transformers4(folder)

    print(name)
    reference = cls.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    prompt = torch.randint(0, 256, (PROMPT_TOKENS,)).tolist()
    described = [describe(reference, prompt, GREEDY_TOKENS, config.max_position_embeddings)]
    if "long_prompt" in options:
        length = options["long_prompt"]
        described.append(describe(reference, torch.randint(0, 256, (length,)).tolist(), 0, length))
    logits = torch.cat([rows for _, rows in described])
    (folder / "oracle.f32").write_bytes(logits.numpy().astype("<f4").tobytes())
    (folder / "oracle.json").write_text(json.dumps(dict(sequences=[sequence for sequence, _ in described])) + "\n")


def main():
    torch.set_num_threads(1)  # sums in one order: the files come out the same again
    logging.disable_progress_bar()
    shutil.rmtree(OUT, ignore_errors=True)
    for index, (name, arguments) in enumerate(MODELS.items()):
        generate(index, name, *arguments)


if __name__ == "__main__":
    main()
