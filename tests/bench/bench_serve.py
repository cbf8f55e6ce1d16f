"""The mesh as clients see it: 1, 8 and 32 streams; what a long prompt costs running streams."""

import http.client
import json
import random
import statistics
import threading
import time
import urllib.parse

from mesh import NAME, Mesh


def load(mesh, **options):
    arguments = [part for key, value in options.items() for part in (f"--{key.replace('_', '-')}", str(value))]
    result = mesh.mesh("bench", "--json", *arguments, timeout=300)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def row(name, result):
    return {"load": name, "output tok/s": result["output_tokens_per_second"],
            "TTFT p50 ms": result["ttft_p50_ms"], "TTFT p99 ms": result["ttft_p99_ms"],
            "ITL p50 ms": result["itl_p50_ms"], "ITL p99 ms": result["itl_p99_ms"], "ITL max ms": result["itl_max_ms"]}


def streams(mesh):
    load(mesh, streams=2, requests=4, prompt_tokens=32, output_tokens=8)  # warm
    rows = []
    for count, requests in ((1, 4), (8, 24), (32, 64)):
        rows.append(row(f"{count} streams, 128 in, 64 out",
                        load(mesh, streams=count, requests=requests, prompt_tokens=128, output_tokens=64)))
    return rows


def long_prompts(mesh):
    """Four running streams, alone and while prompts of 1,500 tokens come in one after the other."""
    alone = load(mesh, streams=4, requests=4, prompt_tokens=32, output_tokens=192, seed=5)
    busy = {}
    running = threading.Thread(
        target=lambda: busy.update(load(mesh, streams=4, requests=4, prompt_tokens=32, output_tokens=192, seed=6)))
    running.start()
    prompts = load(mesh, streams=1, requests=3, prompt_tokens=1500, output_tokens=1, seed=7)
    running.join()
    return [row("4 running streams alone", alone), row("… while 3 prompts of 1,500 tokens come in", busy),
            row("the long prompts", prompts)]


def first_token_ms(connection, prompt):
    """From the request to the first byte of the first streamed token."""
    body = json.dumps({"model": NAME, "prompt": prompt, "max_tokens": 2, "stream": True, "temperature": 0})
    start = time.perf_counter()
    connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    response.read(1)
    elapsed = 1e3 * (time.perf_counter() - start)
    response.read()
    return elapsed


def warm_prefix(mesh, requests=60):
    """A system prompt of 256 tokens that was seen before, and questions of 32 tokens that were not."""
    numbers = random.Random(1)
    prompt = [numbers.randrange(100, 4000) for _ in range(256)]
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(mesh.url).netloc)
    times = [first_token_ms(connection, prompt + [numbers.randrange(100, 4000) for _ in range(32)])
             for _ in range(requests)]
    times = sorted(times[4:])
    return {"load": "256 cached + 32 new tokens", "TTFT p50 ms": round(statistics.median(times), 2),
            "TTFT p99 ms": round(times[int(len(times) * 0.99)], 2)}


def first_token(folder, table):
    rows = []
    for weights in ("int8", "int4", "bf16"):
        home = folder / f"first-{weights}"
        home.mkdir()
        mesh = Mesh(home, cluster=f"first-{weights}", size=1, weights=weights)
        try:
            rows.append({"weights": weights, **warm_prefix(mesh)})
        finally:
            mesh.stop()
    table("First token through the router, SmolLM2-135M, tensorParallelSize 1", rows)
    return rows


def run(folder, table):
    report = {"first_token": first_token(folder, table)}
    for size in (1, 2):
        home = folder / f"serve{size}"
        home.mkdir()
        mesh = Mesh(home, cluster=f"bench{size}", size=size, max_num_seqs=32)
        try:
            report[f"serve_tp{size}"] = streams(mesh)
            table(f"SmolLM2-135M as stored (Q4_1), tensorParallelSize {size}", report[f"serve_tp{size}"])
            if size == 2:
                report["long_prompts"] = long_prompts(mesh)
                table("What long prompts cost running streams (maxNumBatchedTokens 256)", report["long_prompts"])
        finally:
            mesh.stop()
    return report
