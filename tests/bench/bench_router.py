"""The router alone: requests/s, streams/s and latency over a worker that answers 16 tokens at once; beside vllm-router,
sglang-router and nginx, which proxy to an HTTP backend (nginx) that answers as much. Ours also templates, tokenizes and
speaks mutual TLS to its worker. "added" is the p50 at one connection less the HTTP backend's own: for ours that counts
its worker as part of the router."""

import contextlib
import importlib
import json
import re
import socket
import subprocess
import sys
import urllib.request
import venv

import grpc
from grpc_tools import protoc

from mesh import ROOT, Mesh, wait_for
from test_trust import credentials

PEERS = ["vllm-router==0.1.17", "sglang-router==0.3.2"]
SECONDS = 4
CHAT = {"model": "null", "messages": [{"role": "user", "content": "What is the capital of France?"}], "max_tokens": 16}

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


def wrk(folder, url, stream, connections):
    """(requests/s, p50 ms, p99 ms)."""
    script = folder / f"post_{'stream' if stream else 'whole'}.lua"
    body = json.dumps({**CHAT, "stream": stream})
    script.write_text(f"wrk.method = 'POST'\nwrk.body = '{body}'\nwrk.headers['content-type'] = 'application/json'\n")
    out = subprocess.run(["wrk", "-t1", f"-c{connections}", f"-d{SECONDS}s", "--latency", "-s", script,
                          url + "/v1/chat/completions"], capture_output=True, text=True, check=True).stdout
    errors = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    assert not errors, f"{url}: {errors.group(0)}"
    return (float(re.search(r"Requests/sec:\s+([0-9.]+)", out).group(1)),
            milliseconds(re.search(r"^\s+50%\s+(\S+)", out, re.M).group(1)), milliseconds(re.search(r"^\s+99%\s+(\S+)", out, re.M).group(1)))


def measure(folder, name, whole_url, stream_url):
    one = wrk(folder, whole_url, False, 1)
    many = wrk(folder, whole_url, False, 32)
    streams = wrk(folder, stream_url, True, 32)
    return {"router": name, "p50 µs at 1 connection": 1000 * one[1], "requests/s at 32": many[0],
            "p99 ms at 32": many[2], "streams/s at 32": streams[0]}


def our_router(build, folder, stack):
    subprocess.run([build / "bin/mesh", "issue", "--cluster", "bench", "--folder", folder / "tls", "head:head",
                    "worker:null-0", "router:router-0"], check=True, stdout=subprocess.DEVNULL)
    common = ["--cluster=bench", "--log-level=warning"]

    def start(name, binary, *flags):
        stack.enter_context(process([build / "bin" / binary, f"--tls-dir={folder}/tls/{name}", *common, *flags],
                                    folder / f"{name}.log"))

    def address(name, key):
        file = folder / f"{name}.address"
        wait_for(file.exists, f"{name} listens", timeout=20)
        return dict(line.split("=", 1) for line in file.read_text().split())[key]

    start("head", "mesh-head", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0",
          f"--address-file={folder}/head.address")
    head = address("head", "grpc")
    start("null-0", "mesh-null-worker", f"--head={head}", "--listen=127.0.0.1:0", "--tokens=16",
          "--served-model-name=null", "--worker-id=null-0", f"--tokenizer={folder}/tokenizer.json")
    start("router-0", "mesh-router", f"--head={head}", "--listen=127.0.0.1:0", "--grpc-listen=127.0.0.1:0",
          "--admin-listen=127.0.0.1:0", "--router-id=router-0", f"--address-file={folder}/router-0.address")
    return "http://" + address("router-0", "http")


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
    stack.enter_context(process(["nginx", "-c", folder / "nginx.conf", "-p", folder], folder / "nginx.log"))
    urls = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    wait_for(lambda: answers(urls["whole"]), "nginx", timeout=10)
    return urls


def peer_command(python, name, backend, port):
    module = {"vllm-router": "vllm_router.launch_router", "sglang-router": "sglang_router.launch_router"}[name]
    return [python, "-m", module, "--worker-urls", backend, "--host", "127.0.0.1", "--port", port,
            "--prometheus-port", free_port(), "--log-level", "error"]


def peer(folder, python, name, urls):
    """A proxy in front of the whole-answer backend, then one in front of the stream backend."""
    measured = {}
    with contextlib.ExitStack() as stack:
        fronts = {}
        for kind in ("whole", "stream"):
            port = free_port()
            stack.enter_context(process(peer_command(python, name, urls[kind], port), folder / f"{name}-{kind}.log"))
            fronts[kind] = f"http://127.0.0.1:{port}"
            wait_for(lambda: answers(fronts[kind]), name, timeout=60)
        measured = measure(folder, name, fronts["whole"], fronts["stream"])
    return measured


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


def run(build, folder, table):
    rows = []
    with contextlib.ExitStack() as stack:
        urls = backends(folder, stack)
        direct = measure(folder, "(nginx backend, no router)", urls["whole"], urls["stream"])
        rows.append(direct)
        rows.append(measure(folder, "nginx", urls["proxy_whole"], urls["proxy_stream"]))
        python = peers_python(build)
        for name in ("vllm-router", "sglang-router"):
            rows.append(peer(folder, python, name, urls))
    with contextlib.ExitStack() as stack:
        tokenizer_of_the_model(folder)
        url = our_router(build, folder, stack)
        wait_for(lambda: answers(url), "mesh-router", timeout=30)
        rows.append(measure(folder, "mesh-router (with its worker, template, tokenizer)", url, url))
    for row in rows:
        row["added p50 µs"] = row["p50 µs at 1 connection"] - direct["p50 µs at 1 connection"]
    table("Routers over a backend that answers 16 tokens at once", rows)
    return {"router": rows}
