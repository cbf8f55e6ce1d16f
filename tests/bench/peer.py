#!/usr/bin/env python3
"""make bench-peer: slm-mesh beside llama.cpp on this machine, A B A B, same files and threads.

Steps without servers (prefill, decode at several batch sizes), servers under streams, and decoding while another program
keeps one core busy. Prints ratios; writes bench-peer.json and bench-peer.png into the build folder. Before each sample
it waits for an idle machine; a sample that others disturbed is counted in the table.

  peer.py --only decode-1 --format q8_0       one row, for tuning
  peer.py --quick                             SmolLM2-135M and few rows, some minutes
"""

import argparse
import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile

import peer_models
import peer_report
import peer_serve
import peer_sides
from peer_idle import watched
from run import ROOT, commit, machine

STEPS = ["prefill-512", "prefill-4096", *(f"decode-{batch}" for batch in (1, 2, 4, 8, 16, 32))]
SERVE = [f"serve-{streams}" for streams in peer_serve.REQUESTS]
BUSY = ["decode-1", "decode-1-busy"]
QUICK = ["prefill-512", "decode-1", "decode-8", "serve-8"]


@contextlib.contextmanager
def busy_core(wanted):
    """Another program that keeps the last core busy."""
    if not wanted:
        yield
        return
    core = max(os.sched_getaffinity(0))
    program = f"import os\nos.sched_setaffinity(0, [{core}])\nwhile True: pass"
    spinning = subprocess.Popen(["timeout", "600", sys.executable, "-c", program])
    try:
        yield
    finally:
        spinning.terminate()
        spinning.wait()


class Comparison:
    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        self.build = options.build.resolve()
        self.binaries = options.peer.resolve() / "llama.cpp/bin"
        self.ours = peer_sides.Ours(self.build, options.threads, options.weights)
        self.sides = [self.ours, peer_sides.LlamaCpp(self.binaries, options.threads, self.ours)]

    def pairs(self, take):
        """As many pairs take(index) as asked for: undisturbed ones where twice as many tries gave enough."""
        quiet, disturbed = [], []
        while len(quiet) < self.options.pairs and len(quiet) + len(disturbed) < 2 * self.options.pairs:
            pair = take(len(quiet) + len(disturbed))
            (quiet if all(sample["quiet"] for sample in pair.values()) else disturbed).append(pair)
        return (quiet + disturbed)[:self.options.pairs]

    def step(self, file, form, name):
        kind, count, *busy = name.split("-")

        def take(_):
            pair = {}
            for side in self.sides:
                sample = pair[side.name] = {"kind": kind, "count": int(count)}
                with watched(sample, self.options.wait), busy_core(busy):
                    sample.update(side.sample(file, kind, int(count)))
            ours, peer = pair.values()
            peer_sides.add_ceiling(peer, ours["operations"], file, form)
            return pair

        return self.pairs(take)

    def serve(self, file, streams):
        options = self.options
        with contextlib.ExitStack() as stack:
            ours = peer_serve.our_server(self.build, self.folder, file, options.threads, options.weights)
            peer = peer_serve.peer_server(self.binaries, self.folder, file, options.threads, streams)
            servers = {"slm-mesh": stack.enter_context(ours), "llama.cpp": stack.enter_context(peer)}
            for url, _ in servers.values():  # warm
                peer_serve.load(self.build, url, 1, 1, 8, seed=1000)

            def take(index):
                pair = {}
                for name, (url, pids) in servers.items():
                    sample = pair[name] = {}
                    with watched(sample, options.wait, pids):
                        sample.update(peer_serve.sample(self.build, url, streams, seed=index + 1))
                return pair

            return self.pairs(take)

    def row(self, model, form, file, step):
        print(f"{model} {form} {step} …", end=" ", flush=True)
        pairs = self.serve(file, int(step.split("-")[1])) if step in SERVE else self.step(file, form, step)
        row = {"model": model, "format": form, "step": step, "pairs": pairs}
        print(peer_report.short(row), flush=True)
        return row


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    parser.add_argument("--peer", type=pathlib.Path, default=ROOT / "build/peer", help="llama.cpp and the models")
    parser.add_argument("--model", choices=["random", "smollm2"], action="append", help="default: both")
    parser.add_argument("--format", choices=list(peer_models.FORMATS), action="append", help="default: all")
    parser.add_argument("--only", choices=[*STEPS, *SERVE, "decode-1-busy"], action="append", help="default: all rows")
    parser.add_argument("--quick", action="store_true", help=f"SmolLM2 alone: {', '.join(QUICK)}")
    parser.add_argument("--busy", action="store_true", help="only decoding beside a busy core")
    parser.add_argument("--pairs", type=int, default=2, help="A B pairs a row")
    parser.add_argument("--wait", type=float, default=120, help="seconds that a sample waits for an idle machine")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--weights", default="auto", help="how ours keeps weights: model-bench's --weights")
    return parser.parse_args()


def main():
    options = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # servers are stopped on the way out
    models = options.model or (["smollm2"] if options.quick else ["random", "smollm2"])
    steps = options.only or (BUSY if options.busy else QUICK if options.quick else
                             [*STEPS, *SERVE, "decode-1-busy"])
    report = {"machine": machine(), "commit": commit(), "threads": options.threads, "rows": []}
    title = f"{report['machine']}, {options.threads} threads, commit {report['commit']}"
    print(title, flush=True)
    with tempfile.TemporaryDirectory(prefix="mesh-peer-") as folder:
        comparison = Comparison(options, pathlib.Path(folder))
        for model in models:
            files = peer_models.prepare(options.peer / "models", comparison.binaries, model)
            for form in options.format or files:
                for step in steps:
                    report["rows"].append(comparison.row(model, form, files[form].resolve(), step))
                    (options.build / "bench-peer.json").write_text(json.dumps(report, indent=1) + "\n")
    peer_report.show(report["rows"])
    peer_report.plot(report["rows"], title, options.build / "bench-peer.png")
    print(f"\nwritten: {options.build / 'bench-peer.json'}, {options.build / 'bench-peer.png'}")


if __name__ == "__main__":
    main()
