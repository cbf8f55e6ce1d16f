"""Starts real meshes for the tests: `mesh up --detach` on port 0 in a run folder of its own."""

import json
import os
import pathlib
import re
import signal
import ssl
import subprocess
import time
import urllib.request

import openai

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("MESH_BUILD_DIR", ROOT / "build"))
MODEL = ROOT / "models/SmolLM2-135M-Instruct.Q4_1.gguf"
NAME = "smol"

MANIFEST = """
apiVersion: slmmesh.io/v1alpha1
kind: InferenceCluster
metadata: {{name: {cluster}}}
spec:
  model: {{servedName: {name}, path: {model}, maxModelLen: {max_model_len}, weights: {weights}}}
  tensorParallelSize: {size}
  memoryUtilization: 0.2
  engine: {{maxNumSeqs: {max_num_seqs}, maxNumBatchedTokens: 256}}
  routerSpec: {{replicas: 1, service: {{port: 0}}{router}}}
  workerGroupSpecs: [{{groupName: cpu, replicas: {workers}, maxReplicas: 8}}]
"""


def wait_for(condition, what, timeout=60):
    """Polls until condition() is true; what it waited for is in the error. Bounded."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"not within {timeout} s: {what}")


def mesh_command(*arguments, environment=None, timeout=120):
    return subprocess.run([BUILD / "bin/mesh", *map(str, arguments)], env=environment, capture_output=True, text=True,
                          timeout=timeout)


class Mesh:
    def __init__(self, folder, cluster="test", size=2, workers=None, router="", max_num_seqs=32, max_model_len=2048,
                 weights="auto"):
        self.folder = pathlib.Path(folder)
        self.cluster = cluster
        self.environment = dict(os.environ, MESH_RUN_DIR=str(self.folder / "run"))
        manifest = self.folder / "mesh.yaml"
        manifest.write_text(MANIFEST.format(cluster=cluster, name=NAME, model=MODEL, size=size, workers=workers or size,
                                            router=router, max_num_seqs=max_num_seqs, max_model_len=max_model_len,
                                            weights=weights))
        result = self.mesh("up", "-f", manifest, "--detach", timeout=300)
        assert result.returncode == 0, result.stdout + result.stderr
        self.started = result.stdout

    def mesh(self, *arguments, timeout=120):
        return mesh_command(*arguments, environment=self.environment, timeout=timeout)

    def stop(self):
        return self.mesh("down")

    @property
    def run_folder(self):
        return self.folder / "run" / self.cluster

    def state(self):
        return json.loads((self.run_folder / "state.json").read_text())

    def pid(self, process):
        return next(p["pid"] for p in self.state()["processes"] if p["name"] == process)

    def kill(self, process, number=signal.SIGKILL):
        os.kill(self.pid(process), number)

    @property
    def url(self):
        return "http://" + self.state()["http"]

    def addresses(self, process):
        lines = (self.run_folder / "addresses" / process).read_text().split()
        return dict(line.split("=", 1) for line in lines)

    def table(self):
        result = self.mesh("status", "--json")
        return json.loads(result.stdout) if result.returncode == 0 else {}

    def groups(self):
        return {group["groupId"]: group for group in self.table().get("groups", [])}

    def client(self, **options):
        return openai.OpenAI(base_url=self.url + "/v1", **{"api_key": "none", "max_retries": 0, "timeout": 120, **options})

    def async_client(self):
        return openai.AsyncOpenAI(base_url=self.url + "/v1", api_key="none", max_retries=0, timeout=300)

    def ask(self, text, **options):
        return self.client().chat.completions.create(model=NAME, messages=[{"role": "user", "content": text}], **options)

    def tls(self, role="monitor"):
        """An SSL context with the certificate of `role` (a folder under tls/)."""
        folder = self.run_folder / "tls" / role
        context = ssl.create_default_context(cafile=folder / "ca.crt")
        context.check_hostname = False
        context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
        return context

    def log(self, process):
        return (self.run_folder / "logs" / f"{process}.log").read_text()

    def log_events(self, process):
        return [json.loads(line) for line in self.log(process).splitlines() if line.startswith("{")]

    def metrics(self, process):
        """The metrics of a router (its client port) or of a worker (its admin port, by mutual TLS)."""
        if process.startswith("router"):
            text = urllib.request.urlopen(self.url + "/metrics", timeout=10).read().decode()
        else:
            text = self.admin_get(process, "/metrics")
        samples = {}
        for line in text.splitlines():
            if line and not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                samples[name] = float(value)
        return samples

    def admin_address(self, process):
        log = self.log(process)
        return re.findall(r'"admin(?:_address)?"\s*:\s*"([^"]+)"', log)[-1]

    def admin_get(self, process, path, role="monitor"):
        url = f"https://{self.admin_address(process)}{path}"
        return urllib.request.urlopen(url, context=self.tls(role), timeout=10).read().decode()


def metric_sum(samples, name):
    """Over all label sets of one metric."""
    return sum(value for key, value in samples.items() if key == name or key.startswith(name + "{"))
