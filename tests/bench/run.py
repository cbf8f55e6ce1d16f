#!/usr/bin/env python3
"""make bench: kernels, collectives, the model, the mesh under streams, and the router beside its peers.

Prints tables and writes build/bench.json; every record names machine and commit. Machines are shared and noisy: compare
ratios of one run, not figures of two. Sends traffic to 127.0.0.1 alone; every loop is bounded.
"""

import argparse
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/integration"), str(ROOT / "tests/bench")]


def machine():
    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")),
                 platform.processor())
    flags = next((line.split() for line in open("/proc/cpuinfo") if line.startswith("flags")), [])
    features = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_tile") if flag in flags]
    return f"{model}, {os.cpu_count()} cores, {' '.join(features)}"


def commit():
    return subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True,
                          text=True).stdout.strip()


def program(build, name, *arguments):
    """Runs one of the C++ benchmarks, shows and returns what it prints."""
    print(f"\n## {name}", flush=True)
    result = subprocess.run([build / "bin" / name, *map(str, arguments)], stdout=subprocess.PIPE, text=True, timeout=600)
    print(result.stdout, flush=True)
    return result.stdout.splitlines()


def table(title, rows):
    """Prints dictionaries of equal keys as a Markdown table."""
    print(f"\n## {title}\n\n| " + " | ".join(rows[0]) + " |\n|" + "---|" * len(rows[0]))
    for row in rows:
        print("| " + " | ".join(f"{v:.1f}" if isinstance(v, float) else str(v) for v in row.values()) + " |")
    sys.stdout.flush()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    parser.add_argument("--only", choices=["kernels", "collective", "model", "serve", "router"], action="append")
    options = parser.parse_args()
    build = options.build.resolve()
    os.environ["MESH_BUILD_DIR"] = str(build)
    wanted = options.only or ["kernels", "collective", "model", "serve", "router"]
    report = {"machine": machine(), "commit": commit()}
    print(f"machine: {report['machine']}\ncommit: {report['commit']}")
    if "kernels" in wanted:
        report["kernels"] = program(build, "kernels-bench")
    if "collective" in wanted:
        report["collective"] = program(build, "collective-bench")
    if "model" in wanted:
        report["model"] = program(build, "model-bench", ROOT / "models/SmolLM2-135M-Instruct.Q4_1.gguf",
                                  f"--threads={os.cpu_count()}")
    with tempfile.TemporaryDirectory(prefix="mesh-bench-") as folder:
        if "serve" in wanted:
            import bench_serve
            report.update(bench_serve.run(pathlib.Path(folder), table))
        if "router" in wanted:
            import bench_router
            report.update(bench_router.run(build, pathlib.Path(folder), table))
    (build / "bench.json").write_text(json.dumps(report, indent=1) + "\n")
    print(f"\nwritten: {build / 'bench.json'}")


if __name__ == "__main__":
    main()
