"""One sample of a model's steps on either side: same file, same threads, same lengths, no servers.

A sample is a run of the side's own program and returns tokens/s and, from a probe just after it, what share of the
machine's ceiling that is."""

import json
import subprocess

CONTEXT = 48  # positions before a decoding sequence: the peer's prompt of 32 and half of the 32 tokens that it decodes
PROMPT, OUTPUT = 32, 32


def run(command, timeout=600):
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=timeout)
    if result.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}: exit {result.returncode}\n{result.stderr[-2000:]}")
    return result.stdout


class Ours:
    name = "slm-mesh"

    def __init__(self, build, threads, weights):
        self.bench, self.threads, self.weights = build / "bin/model-bench", threads, weights

    def sample(self, file, kind, count):
        counts = {"prefill": "", "decode": "", kind: count}
        out = run([self.bench, file, "--json", f"--threads={self.threads}", f"--weights={self.weights}",
                   f"--context={CONTEXT}", f"--prefill={counts['prefill']}", f"--decode={counts['decode']}"])
        report = json.loads(out)
        return {**report["steps"][0], "weights": report["weights"], "backend": report["backend"]}

    def probe(self):
        return json.loads(run([self.bench, "--probe", f"--threads={self.threads}"]))


class LlamaCpp:
    name = "llama.cpp"

    def __init__(self, binaries, threads, ours):
        self.binaries, self.threads, self.ours = binaries, threads, ours

    def sample(self, file, kind, count):
        sample = self.prefill(file, count) if kind == "prefill" else self.decode(file, count)
        return {**sample, "probe": self.ours.probe()}

    def prefill(self, file, tokens):
        # Its warm-up repeats the whole prompt: not for long ones, where it changes nothing.
        out = run([self.binaries / "llama-bench", "-m", file, "-t", self.threads, "-p", tokens, "-n", 0, "-r", 1,
                   "-o", "json", *(["--no-warmup"] if tokens > 1024 else [])])
        return {"tokens_per_second": json.loads(out)[0]["avg_ts"]}

    def decode(self, file, batch):
        out = run([self.binaries / "llama-batched-bench", "-m", file, "-t", self.threads, "-npp", PROMPT, "-ntg", OUTPUT,
                   "-npl", batch, "-c", max(512, batch * (PROMPT + OUTPUT)), "--output-format", "jsonl"])
        line = next(line for line in out.splitlines() if line.startswith("{"))
        return {"tokens_per_second": json.loads(line)["speed_tg"]}


def add_ceiling(sample, operations, file, form):
    """The peer's shares, by the operations that ours counted for the same step and the bytes of the file."""
    probe = sample.pop("probe")
    seconds = sample["count"] / sample["tokens_per_second"]
    peak = probe["peak_operations_per_second"]["bf16" if form == "bf16" else "int8"]
    sample["percent_of_peak"] = 100 * operations / seconds / peak
    if sample["kind"] == "decode":
        sample["percent_of_read"] = 100 * file.stat().st_size / seconds / probe["read_bytes_per_second"]
