"""From `kubectl apply` to answers, and what a person sees on the way."""

import json
import ssl
import socket
import subprocess

from manifests import demo_manifest
from processes import wait_until

QUESTION = {"model": "smollm2-135m-instruct", "max_tokens": 24, "temperature": 0,
            "messages": [{"role": "user", "content": "What is the capital of France?"}]}


def test_first_answer(demo):
    assert demo.first_answer.strip()
    demo.wait_consistent()
    nodes = {pod["spec"]["nodeName"] for pod in demo.pods("worker")}
    assert nodes == {"n1", "n2"}, "the ranks of the group are meant to speak over the network"


def test_curl_through_the_service_by_name(mesh):
    """By the name in status.endpoint, from a node, through the cluster's DNS and kube-proxy."""
    endpoint = mesh.status()["endpoint"]
    host, port = endpoint.removeprefix("http://").split(":")
    address = resolve(mesh.cluster, f"{host}.cluster.local")
    output = mesh.cluster.network.run(
        mesh.cluster.network.nodes[1], "curl", "--silent", "--show-error", "--fail", "--max-time", "60",
        "--resolve", f"{host}:{port}:{address}", f"{endpoint}/v1/chat/completions", "-H",
        "Content-Type: application/json", "-d", json.dumps(QUESTION), stdout=subprocess.PIPE, text=True).stdout
    assert "Paris" in json.loads(output)["choices"][0]["message"]["content"]


def resolve(cluster, name):
    """One A record, asked of the cluster's DNS by hand: this machine's own resolver does not know the cluster."""
    question = b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0\0\1\0\1"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(5)
        udp.sendto(b"\x12\x34\x01\x00\0\1\0\0\0\0\0\0" + question, (cluster.network.CONTROL_PLANE_ADDRESS, 53))
        return socket.inet_ntoa(udp.recv(512)[-4:])


def test_openai_client(mesh):
    client = mesh.client()
    assert [model.id for model in client.models.list()] == ["smollm2-135m-instruct"]
    answer = client.chat.completions.create(**QUESTION)
    assert "Paris" in answer.choices[0].message.content
    streamed = client.chat.completions.create(**QUESTION, stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in streamed if chunk.choices)
    assert text == answer.choices[0].message.content


def test_what_kubectl_shows(mesh):
    header, row = mesh.kubectl("get", "inferenceclusters").splitlines()
    assert header.split() == ["NAME", "MODEL", "GROUPS", "TOKENS/S", "STATE", "AGE"]
    assert row.split()[:3] == [mesh.name, "smollm2-135m-instruct", "1/1"] and "Ready" in row
    described = mesh.kubectl("describe", "inferencecluster", mesh.name)
    assert "Events:" in described and "ModelLoaded" in described
    explained = mesh.kubectl("explain", "inferencecluster.spec.rollout")
    assert "maxSurge" in explained and "DESCRIPTION" in explained


def test_pods_are_restricted(mesh):
    """The namespace's label lets nothing else in; this says what it is about, and that the image holds to it."""
    for pod in mesh.pods():
        (container,) = pod["spec"]["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert pod["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["spec"]["automountServiceAccountToken"] is False
        assert pod["status"]["containerStatuses"][0]["restartCount"] == 0
    shell = subprocess.run(
        ["nsenter", f"--net=/run/netns/{mesh.cluster.network.control_plane}", mesh.cluster.programs / "kubectl",
         f"--kubeconfig={mesh.cluster.kubeconfig}", "exec", f"-n={mesh.namespace}", mesh.pod_names("head")[0], "--",
         "/bin/sh"], capture_output=True, text=True)
    assert shell.returncode != 0 and "no such file" in shell.stderr


def test_nothing_inside_speaks_plaintext(mesh):
    """Every port but the clients' wants TLS, and a certificate of this cluster."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for pod in mesh.pods():
        role = pod["metadata"]["labels"]["slmmesh.io/role"]
        for port in pod["spec"]["containers"][0]["ports"]:
            if role == "router" and port["name"] in ("http", "grpc"):
                continue
            # The exchange between ranks takes no TLS greeting of a stranger either; a probe's port takes one without a
            # certificate, for /healthz and /readyz alone.
            where = (pod["status"]["podIP"], port["containerPort"])
            answer = plain_request(where)
            assert b"200" not in answer[:20], f"{role} {port['name']} answers plaintext: {answer[:80]}"
            if port["name"] == "admin":
                assert tls_get(context, where, "/healthz").startswith(b"HTTP/1.1 200")
                assert not tls_get(context, where, "/metrics").startswith(b"HTTP/1.1 200")


def plain_request(where):
    with socket.create_connection(where, timeout=5) as connection:
        try:
            connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            return connection.recv(200)
        except (ConnectionError, TimeoutError):
            return b""


def tls_get(context, where, path):
    try:
        with socket.create_connection(where, timeout=5) as raw, context.wrap_socket(raw) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            return connection.recv(200)
    except (ssl.SSLError, ConnectionError):
        return b""


def test_two_clusters_do_not_mix(cluster, mesh, timing):
    """A second cluster of the same namespace: its own certificates, its own pods; deleting it leaves nothing."""
    from inference_cluster import InferenceCluster
    manifest = demo_manifest(name="second", size=1)
    second = InferenceCluster(cluster, manifest)
    second.apply()
    second.wait_consistent()
    assert second.ask() == mesh.first_answer, "the same bits for any split"
    ca = [json.loads(mesh.kubectl("get", "secret", f"{name}-tls", "-o=json"))["data"]["ca.crt"]
          for name in ("demo", "second")]
    assert ca[0] != ca[1]
    with timing("kubectl delete → nothing left"):
        second.kubectl("delete", "inferencecluster", "second", "--wait=true")
        selector = "-l=slmmesh.io/cluster=second"
        wait_until(lambda: not second.objects("pods,services,secrets,poddisruptionbudgets", selector),
                   "everything of the deleted cluster is gone", 60)
