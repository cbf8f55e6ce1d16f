"""The servers under streams, both asked by one client (`mesh bench`): ours with router, head and one worker, the peer's
with as many slots as streams."""

import contextlib
import json
import os
import socket
import subprocess
import threading
import time
import urllib.request

PROMPT, OUTPUT = 127, 128
REQUESTS = {1: 4, 8: 16, 32: 48}  # more than one wave: prompts come in while answers run
FIGURES = ["output_tokens_per_second", "ttft_p50_ms", "ttft_p99_ms", "itl_p50_ms", "itl_p99_ms", "itl_max_ms"]
MANIFEST = """
apiVersion: slmmesh.io/v1alpha1
kind: InferenceCluster
metadata: {{name: peer}}
spec:
  model: {{servedName: peer, path: {model}, maxModelLen: 512, weights: {weights}}}
  tensorParallelSize: 1
  memoryUtilization: 0.4
  engine: {{maxNumSeqs: 32, threads: {threads}}}
  routerSpec: {{replicas: 1, service: {{port: 0}}}}
  workerGroupSpecs: [{{groupName: cpu, replicas: 1}}]
"""


def answers(url):
    try:
        return urllib.request.urlopen(url, timeout=5).status == 200
    except OSError:
        return False


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def our_server(build, folder, model, threads, weights):
    """Yields (url, process ids)."""
    manifest = folder / "mesh.yaml"
    manifest.write_text(MANIFEST.format(model=model, threads=threads, weights=weights))
    environment = dict(os.environ, MESH_RUN_DIR=str(folder / "run"))

    def mesh(*arguments):
        return subprocess.run([build / "bin/mesh", *arguments], env=environment, capture_output=True, text=True,
                              timeout=300)

    try:
        started = mesh("up", "-f", manifest, "--detach")
        if started.returncode:
            raise SystemExit(f"mesh up: {started.stdout}{started.stderr}")
        state = json.loads((folder / "run/peer/state.json").read_text())
        yield "http://" + state["http"], [process["pid"] for process in state["processes"]]
    finally:
        mesh("down")


@contextlib.contextmanager
def peer_server(binaries, folder, model, threads, streams):
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with open(folder / "llama-server.log", "w") as log:
        server = subprocess.Popen(
            list(map(str, [binaries / "llama-server", "-m", model, "--alias", "peer", "--host", "127.0.0.1", "--port",
                           port, "-t", threads, "-np", streams, "-c", 512 * streams])), stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 120
        while not answers(url + "/health"):
            if server.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"llama-server did not start; see {log.name}")
            threading.Event().wait(0.1)
        yield url, [server.pid]
    finally:
        server.terminate()
        server.wait(timeout=30)


def load(build, url, streams, requests, output, seed):
    result = subprocess.run([build / "bin/mesh", "bench", "--json", "--url", url, "--model", "peer", "--streams",
                             str(streams), "--requests", str(requests), "--prompt-tokens", str(PROMPT),
                             "--output-tokens", str(output), "--seed", str(seed)], capture_output=True, text=True,
                            timeout=900)
    if result.returncode:
        raise SystemExit(f"mesh bench {url}: {result.stderr}")
    said = json.loads(result.stdout)
    answered = said["output_tokens_per_second"] * said["wall_seconds"]
    if round(answered) != requests * output:
        raise SystemExit(f"{url}: {answered:.0f} tokens came of {requests} requests of {output} each")
    return said


def sample(build, url, streams, seed):
    """What the client of one round saw. The seed differs in every round: no prompt is known from an earlier one."""
    said = load(build, url, streams, REQUESTS[streams], OUTPUT, seed)
    return {figure: said[figure] for figure in FIGURES}
