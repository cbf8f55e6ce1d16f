"""The router alone: requests/s, streams/s, latency and processor time over a worker that answers 16 tokens at once;
beside vllm-router, sglang-router and nginx, which proxy to an HTTP backend (nginx) that answers as much. Ours also
templates, tokenizes and speaks mutual TLS to its worker.

"added" is the p50 at one connection less the HTTP backend's own: for ours that counts its worker as part of the router.
"added to its own backend" takes off what each router's backend takes when it is asked without the router: for ours the
null worker's own round trip. Processor time per request is of the router's process and, beside it, of the backend's:
the figures that a busy machine disturbs least. The nginx proxy runs in the backend's process.

All routers stand ready at once and take turns in rounds; every figure is the median over the rounds, so that what else
the machine does meets them alike."""

import contextlib
import importlib
import json
import os
import pathlib
import re
import socket
import statistics
import subprocess
import sys
import urllib.request
import venv

import grpc
from grpc_tools import protoc

from mesh import ROOT, Mesh, wait_for
from test_trust import credentials

PEERS = ["vllm-router==0.1.17", "sglang-router==0.3.2"]
SECONDS = 2
ROUNDS = 5
CHAT = {"model": "null", "messages": [{"role": "user", "content": "What is the capital of country NUMBER?"}],
        "max_tokens": 16}
CONNECTIONS = 32
# Every request asks something else: nothing that a router remembers of the last one helps it.
SCRIPT = """
local body, number = '{body}', 0
wrk.method = 'POST'
wrk.headers['content-type'] = 'application/json'
function request()
  number = number + 1
  return wrk.format(nil, nil, nil, (body:gsub('NUMBER', tostring(number))))
end
"""

NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log crit;
events {{ worker_connections 512; }}
http {{
  access_log off; client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
  uwsgi_temp_path {folder}; scgi_temp_path {folder}; keepalive_requests 1000000;
  upstream whole {{ server 127.0.0.1:{whole}; keepalive 64; }}
  upstream stream {{ server 127.0.0.1:{stream}; keepalive 64; }}
  server {{ listen 127.0.0.1:{whole}; default_type application/json; location / {{ return 200 '{answer}'; }} }}
  server {{ listen 127.0.0.1:{stream}; default_type text/event-stream; location / {{ return 200 '{events}'; }} }}
  server {{ listen 127.0.0.1:{proxy_whole}; location / {{ proxy_pass http://whole; proxy_http_version 1.1;
    proxy_set_header Connection ''; }} }}
  server {{ listen 127.0.0.1:{proxy_stream}; location / {{ proxy_pass http://stream; proxy_http_version 1.1;
    proxy_set_header Connection ''; proxy_buffering off; }} }}
}}
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def process(command, log):
    with open(log, "wb") as output:
        running = subprocess.Popen(list(map(str, command)), stdout=output, stderr=output)
    try:
        yield running
    finally:
        running.terminate()
        try:
            running.wait(timeout=10)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


def answers(url):
    try:
        request = urllib.request.Request(url + "/v1/chat/completions", json.dumps(CHAT).encode(),
                                         {"content-type": "application/json"})
        return urllib.request.urlopen(request, timeout=5).status == 200
    except OSError:
        return False


def milliseconds(text):
    value, unit = re.match(r"([0-9.]+)(us|ms|s)", text).groups()
    return float(value) * {"us": 0.001, "ms": 1, "s": 1000}[unit]


def processor_seconds(pids):
    """User and system time of these processes and their children, so far."""
    total = 0
    for pid in pids:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        for children in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
            total += processor_seconds(map(int, children.read_text().split()))
    return total


def wrk(folder, url, stream, connections, router=(), backend=()):
    """One run against `url`; `router` and `backend` are process ids."""
    script = folder / f"post_{'stream' if stream else 'whole'}.lua"
    script.write_text(SCRIPT.format(body=json.dumps({**CHAT, "stream": stream})))
    before = [processor_seconds(pids) for pids in (router, backend)]
    out = subprocess.run(["wrk", "-t1", f"-c{connections}", f"-d{SECONDS}s", "--latency", "-s", script,
                          url + "/v1/chat/completions"], capture_output=True, text=True, check=True).stdout
    after = [processor_seconds(pids) for pids in (router, backend)]
    errors = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    assert not errors, f"{url}: {errors.group(0)}"
    requests = int(re.search(r"(\d+) requests in", out).group(1))
    return {"rate": float(re.search(r"Requests/sec:\s+([0-9.]+)", out).group(1)),
            "p50": milliseconds(re.search(r"^\s+50%\s+(\S+)", out, re.M).group(1)),
            "p99": milliseconds(re.search(r"^\s+99%\s+(\S+)", out, re.M).group(1)),
            "router_us": 1e6 * (after[0] - before[0]) / requests, "backend_us": 1e6 * (after[1] - before[1]) / requests}


def measure(folder, name, whole, stream):
    """`whole` and `stream`: (address, the router's process ids, the backend's)."""
    one = wrk(folder, whole[0], False, 1, *whole[1:])
    many = wrk(folder, whole[0], False, CONNECTIONS, *whole[1:])
    streams = wrk(folder, stream[0], True, CONNECTIONS, *stream[1:])
    return {"router": name, "p50 µs at 1 connection": 1000 * one["p50"], "requests/s at 32": many["rate"],
            "p99 ms at 32": many["p99"], "streams/s at 32": streams["rate"], "CPU µs/request at 1": one["router_us"],
            "CPU µs/request at 32": many["router_us"], "CPU µs/stream at 32": streams["router_us"],
            "backend's CPU µs/request at 32": many["backend_us"]}


def worker_alone(build, folder, worker, pid):
    """The null worker asked by a client of its own, without a router."""
    rows = []
    for connections in (1, CONNECTIONS):
        before = processor_seconds([pid])
        out = subprocess.run([build / "bin/mesh-null-client", f"--worker={worker}", f"--tls-dir={folder}/tls/router-0",
                              f"--connections={connections}", f"--time={SECONDS}s", "--log-level=warning"],
                             capture_output=True, text=True, check=True, timeout=60).stdout
        said = dict(line.split("=") for line in out.split())
        rows.append({"connections": connections, "requests/s": float(said["requests_per_second"]),
                     "p50 µs": float(said["p50_us"]),
                     "worker's CPU µs/request": 1e6 * (processor_seconds([pid]) - before) / int(said["requests"])})
    return rows


def our_router(build, folder, stack):
    subprocess.run([build / "bin/mesh", "issue", "--cluster", "bench", "--folder", folder / "tls", "head:head",
                    "worker:null-0", "router:router-0"], check=True, stdout=subprocess.DEVNULL)
    common = ["--cluster=bench", "--log-level=warning"]
    pids = {}

    def start(name, binary, *flags):
        running = stack.enter_context(process([build / "bin" / binary, f"--tls-dir={folder}/tls/{name}", *common, *flags],
                                              folder / f"{name}.log"))
        pids[name] = running.pid

    def address(name, key):
        file = folder / f"{name}.address"
        wait_for(file.exists, f"{name} listens", timeout=20)
        return dict(line.split("=", 1) for line in file.read_text().split())[key]

    start("head", "mesh-head", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0",
          f"--address-file={folder}/head.address")
    head = address("head", "grpc")
    start("null-0", "mesh-null-worker", f"--head={head}", "--listen=127.0.0.1:0", "--tokens=16",
          "--served-model-name=null", "--worker-id=null-0", f"--tokenizer={folder}/tokenizer.json",
          f"--address-file={folder}/null-0.address")
    start("router-0", "mesh-router", f"--head={head}", "--listen=127.0.0.1:0", "--grpc-listen=127.0.0.1:0",
          "--admin-listen=127.0.0.1:0", "--router-id=router-0", f"--address-file={folder}/router-0.address")
    return "http://" + address("router-0", "http"), address("null-0", "grpc"), pids


def backends(folder, stack):
    ports = {name: free_port() for name in ("whole", "stream", "proxy_whole", "proxy_stream")}
    text = " word" * 16
    answer = {"id": "x", "object": "chat.completion", "created": 1, "model": "null", "choices": [
        {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 12, "completion_tokens": 16, "total_tokens": 28}}
    event = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "null",
             "choices": [{"index": 0, "delta": {"content": " word"}, "finish_reason": None}]}
    events = (f"data: {json.dumps(event)}\n\n" * 16) + "data: [DONE]\n\n"
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, answer=json.dumps(answer), events=events, **ports))
    running = stack.enter_context(process(["nginx", "-c", folder / "nginx.conf", "-p", folder], folder / "nginx.log"))
    urls = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    wait_for(lambda: answers(urls["whole"]), "nginx", timeout=10)
    return urls, [running.pid]


def peer_command(python, name, backend, port):
    module = {"vllm-router": "vllm_router.launch_router", "sglang-router": "sglang_router.launch_router"}[name]
    return [python, "-m", module, "--worker-urls", backend, "--host", "127.0.0.1", "--port", port,
            "--prometheus-port", free_port(), "--log-level", "error"]


def peer(folder, python, name, urls, backend, stack):
    """A proxy in front of the whole-answer backend and one in front of the stream backend."""
    fronts = []
    for kind in ("whole", "stream"):
        port = free_port()
        running = stack.enter_context(process(peer_command(python, name, urls[kind], port),
                                              folder / f"{name}-{kind}.log"))
        url = f"http://127.0.0.1:{port}"
        fronts.append((url, [running.pid], backend))
        wait_for(lambda: answers(url), name, timeout=60)
    return name, *fronts


def peers_python(build):
    folder = build / "venv-peers"
    stamp = folder / "stamp"
    if not stamp.exists():
        venv.create(folder, with_pip=True)
        subprocess.run([folder / "bin/pip", "install", "--quiet", "--disable-pip-version-check", *PEERS], check=True)
        stamp.write_text("\n".join(PEERS))
    return folder / "bin/python"


def tokenizer_of_the_model(folder):
    """Writes the real tokenizer, as a worker hands it to routers: what ours tokenizes with."""
    home = folder / "model"
    home.mkdir()
    protoc.main(["protoc", f"-I{ROOT / 'proto'}", f"--python_out={home}", "slmmesh/v1/sampling.proto",
                 "slmmesh/v1/worker.proto"])
    sys.path.insert(0, str(home))
    messages = importlib.import_module("slmmesh.v1.worker_pb2")
    mesh = Mesh(home, cluster="tokenizer", size=1)
    try:
        endpoint = mesh.table()["members"][0]["offer"]["endpoint"]
        options = [("grpc.ssl_target_name_override", "worker.tokenizer.slmmesh"),
                   ("grpc.max_receive_message_length", 64 << 20)]
        with grpc.secure_channel(endpoint, credentials(mesh, "admin"), options) as channel:
            answer = channel.unary_unary("/slmmesh.v1.Worker/GetModel")(b"", timeout=10)
    finally:
        mesh.stop()
    (folder / "tokenizer.json").write_text(messages.ModelInfo.FromString(answer).tokenizer_json)


def medians(rounds):
    """Of rows with the same keys in each round."""
    return [{key: statistics.median(row[key] for row in rows) if isinstance(value, float) else value
             for key, value in rows[0].items()} for rows in zip(*rounds)]


def run(build, folder, table):
    with contextlib.ExitStack() as stack:
        tokenizer_of_the_model(folder)
        urls, backend = backends(folder, stack)
        python = peers_python(build)
        fronts = [("(nginx backend, no router)", (urls["whole"], (), backend), (urls["stream"], (), backend)),
                  ("nginx", (urls["proxy_whole"], backend), (urls["proxy_stream"], backend))]
        fronts += [peer(folder, python, name, urls, backend, stack) for name in ("vllm-router", "sglang-router")]
        url, worker, pids = our_router(build, folder, stack)
        wait_for(lambda: answers(url), "mesh-router", timeout=30)
        ours = (url, [pids["router-0"]], [pids["null-0"]])
        fronts.append(("mesh-router (with its worker, template, tokenizer)", ours, ours))
        rounds = [([measure(folder, *front) for front in fronts],
                   worker_alone(build, folder, worker, pids["null-0"])) for _ in range(ROUNDS)]
    rows, alone = (medians(half) for half in zip(*rounds))
    direct = rows[0]
    for row in rows:
        row["added p50 µs"] = row["p50 µs at 1 connection"] - direct["p50 µs at 1 connection"]
        row["added to its own backend, p50 µs"] = row["added p50 µs"]
    rows[-1]["added to its own backend, p50 µs"] = rows[-1]["p50 µs at 1 connection"] - alone[0]["p50 µs"]
    table("Routers over a backend that answers 16 tokens at once", rows)
    table("The null worker without a router, over mutual TLS gRPC", alone)
    return {"router": rows, "null_worker": alone}
