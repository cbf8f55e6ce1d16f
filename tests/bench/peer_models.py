"""The models that both sides read from the very same file: bf16, Q8_0 and Q4_0 of one model, each matrix in that format.

`random`: 1.04 billion random weights in Llama's shape. What they are worth does not change how long a step takes.
`smollm2`: SmolLM2-135M-Instruct, brought from its Q4_1 file to the other formats."""

import pathlib
import subprocess

FORMATS = {"bf16": "BF16", "q8_0": "Q8_0", "q4_0": "Q4_0"}
SMOLLM2 = pathlib.Path(__file__).resolve().parents[2] / "models/SmolLM2-135M-Instruct.Q4_1.gguf"

HIDDEN, LAYERS, HEADS, KV_HEADS, HEAD_DIM, FEED_FORWARD = 2048, 16, 32, 8, 64, 8192
VOCABULARY = 32000


def prepare(folder, binaries, name):
    """The files of model `name` by format, made where missing."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {key: folder / f"{name}-{key}.gguf" for key in FORMATS}
    if name == "random" and not files["bf16"].exists():
        print(f"writing {files['bf16'].name}", flush=True)
        made(files["bf16"], write_random)
    source = files["bf16"] if name == "random" else SMOLLM2
    for key, file in files.items():
        if not file.exists():
            print(f"writing {file.name}", flush=True)
            made(file, lambda target, kind=FORMATS[key]: quantize(binaries, source, target, kind))
    return files


def made(file, make):
    """Runs make(path) on a name beside `file` and renames: a file that is there is whole."""
    partial = file.with_suffix(".partial")
    make(partial)
    partial.rename(file)


def quantize(binaries, source, target, kind):
    # --pure: llama-quantize would otherwise keep some matrices in a finer format.
    subprocess.run([binaries / "llama-quantize", "--pure", "--allow-requantize", source, target, kind], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def vocabulary():
    """Tokens and their types (2 unknown, 3 control, 6 byte, 1 normal): bytes, printable characters, pseudo-words."""
    tokens = [b"<unk>", b"<s>", b"</s>"] + [f"<0x{byte:02X}>".encode() for byte in range(256)]
    types = [2, 3, 3] + [6] * 256
    words = [bytes([character]) for character in range(33, 127)]
    letters = "abcdefghijklmnopqrstuvwxyz"
    for number in range(VOCABULARY - len(tokens) - len(words)):
        word = letters[number // 676 % 26] + letters[number // 26 % 26] + letters[number % 26]
        words.append(f"\u2581{word}{number // 17576}".encode())
    return tokens + words, types + [1] * len(words)


def write_random(path):
    import gguf
    import numpy

    random = numpy.random.default_rng(1)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("random-1b")
    writer.add_block_count(LAYERS)
    writer.add_context_length(8192)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(500000.0)
    writer.add_rope_dimension_count(HEAD_DIM)
    writer.add_vocab_size(VOCABULARY)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    tokens, types = vocabulary()
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores([-float(i) for i in range(VOCABULARY)])
    writer.add_token_types(types)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_chat_template("{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}\n{% endfor %}<assistant>")

    def matrix(name, rows, columns):
        weights = random.standard_normal((rows, columns), dtype=numpy.float32) * numpy.float32(0.02)
        writer.add_tensor(name, gguf.quants.quantize(weights, gguf.GGMLQuantizationType.BF16),
                          raw_dtype=gguf.GGMLQuantizationType.BF16)

    def norm(name):
        writer.add_tensor(name, numpy.ones(HIDDEN, numpy.float32))

    matrix("token_embd.weight", VOCABULARY, HIDDEN)
    norm("output_norm.weight")
    for layer in range(LAYERS):
        prefix = f"blk.{layer}."
        norm(prefix + "attn_norm.weight")
        norm(prefix + "ffn_norm.weight")
        matrix(prefix + "attn_q.weight", HEADS * HEAD_DIM, HIDDEN)
        matrix(prefix + "attn_k.weight", KV_HEADS * HEAD_DIM, HIDDEN)
        matrix(prefix + "attn_v.weight", KV_HEADS * HEAD_DIM, HIDDEN)
        matrix(prefix + "attn_output.weight", HIDDEN, HEADS * HEAD_DIM)
        matrix(prefix + "ffn_gate.weight", FEED_FORWARD, HIDDEN)
        matrix(prefix + "ffn_up.weight", FEED_FORWARD, HIDDEN)
        matrix(prefix + "ffn_down.weight", HIDDEN, FEED_FORWARD)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
