"""Specs that cannot be served, others who write as well: said in plain words, and no harm done."""

import copy
import json
import subprocess
import threading
import time

import pytest

from inference_cluster import InferenceCluster
from load import Load
from manifests import demo_manifest
from processes import wait_until


@pytest.fixture
def other(cluster, demo):
    """A second cluster in demo's namespace, from a manifest that the test changes; deleted afterwards."""
    made = []

    def make(change):
        manifest = demo_manifest(name="other", size=1)
        change(manifest["spec"])
        made.append(InferenceCluster(cluster, manifest))
        made[0].apply()
        return made[0]
    yield make
    for other in made:
        other.kubectl("delete", "inferencecluster", other.name)
        wait_until(lambda: not other.objects("pods", "-l=slmmesh.io/cluster=other"), "its pods are gone", 60)


def worker_container(spec):
    return spec["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]


def test_never_schedulable(other, mesh, timing):
    def change(spec):
        worker_container(spec)["resources"] = {"requests": {"cpu": "1000"}}
    with timing("1000 CPUs asked for → status says so"):
        cluster = other(change)
        status = cluster.wait(lambda status: "no node can take it" in status.get("message", ""), "the reason")
    assert "without enough cpu" in status["message"]
    assert cluster.condition("Ready")["status"] == "False"
    assert cluster.condition("Degraded")["reason"] == "PodTrouble"
    assert "no node can take it" in cluster.kubectl("describe", "inferencecluster", "other")


def test_no_node_with_that_accelerator(other):
    def change(spec):
        spec["workerGroupSpecs"][0]["accelerator"] = "cpu"
        worker_container(spec)["resources"] = {"limits": {"nvidia.com/gpu": "1"}}
    cluster = other(change)
    status = cluster.wait(lambda status: "nvidia.com/gpu" in status.get("message", ""), "the reason")
    assert "no node can take it" in status["message"]


def test_weights_missing(other):
    cluster = other(lambda spec: spec["model"].update(path="/models/nowhere.gguf"))
    status = cluster.wait(lambda status: "nowhere.gguf" in status.get("message", ""), "the reason")
    assert cluster.condition("ModelLoaded", status)["status"] == "False"


def test_weights_with_another_digest(other):
    cluster = other(lambda spec: spec["model"].update(sha256="0" * 64))
    cluster.wait(lambda status: "its SHA-256 is" in status.get("message", ""), "the reason")


def test_image_missing(other):
    def change(spec):
        spec["headGroupSpec"]["template"]["spec"]["containers"][0]["image"] = "localhost/nothing:1"
    cluster = other(change)
    cluster.wait(lambda status: "image localhost/nothing:1 cannot be pulled" in status.get("message", ""), "the reason")


def test_not_enough_memory(other):
    cluster = other(lambda spec: worker_container(spec).update(resources={"limits": {"memory": "48Mi"}}))
    cluster.wait(lambda status: "memory" in status.get("message", ""), "the reason")


@pytest.mark.parametrize("change, words", [
    (lambda spec: spec["workerGroupSpecs"][0].update(replicas=3), "multiple of tensorParallelSize"),
    (lambda spec: spec["model"].update(path="relative.gguf"), "relative"),
    (lambda spec: spec.update(tensorParallelSize=3), "tensorParallelSize"),
    (lambda spec: spec.update(memoryUtilization=1.5), "memoryUtilization"),
    (lambda spec: spec["workerGroupSpecs"][0].update(maxReplicas=0), "maxReplicas"),
    (lambda spec: worker_container(spec)["resources"].update(limits={"memory": "much"}), "not a quantity"),
])
def test_refused_at_admission(demo, change, words):
    manifest = copy.deepcopy(demo_manifest(name="wrong"))
    change(manifest["spec"])
    result = kubectl(demo, "apply", "-f=-", input=json.dumps(manifest))
    assert result.returncode != 0 and words in result.stderr, result.stderr


def kubectl(demo, *arguments, **options):
    return subprocess.run([demo.cluster.programs / "kubectl", f"--kubeconfig={demo.cluster.kubeconfig}",
                           f"--namespace={demo.namespace}", *arguments], capture_output=True, text=True, **options)


def test_conflicting_writers(mesh, timing):
    """Somebody keeps writing what is the operator's: it wins, and does not run in circles."""
    stop = threading.Event()

    def meddle():
        service = {"spec": {"selector": {"slmmesh.io/role": "nobody"}}}
        while not stop.is_set():
            kubectl(mesh, "patch", "service", f"{mesh.name}-head", "--type=merge", f"-p={json.dumps(service)}")
            kubectl(mesh, "patch", "inferencecluster", mesh.name, "--subresource=status", "--type=merge",
                    '-p={"status":{"state":"Invalid","message":"nonsense","draining":[{"pod":"nobody"}]}}')
            kubectl(mesh, "label", "inferencecluster", mesh.name, f"meddler={time.monotonic_ns()}", "--overwrite")
            stop.wait(0.3)
    thread = threading.Thread(target=meddle, daemon=True)
    with Load(mesh) as load:
        load.wait_for_answers(3)
        thread.start()
        mesh.kubectl("scale", f"inferencecluster/{mesh.name}", "--replicas=2")
        wait_until(lambda: len(mesh.pods("worker")) == 4, "the operator goes on", 60)
        time.sleep(5)  # of meddling
        stop.set()
        thread.join()
        with timing("meddlers gone → settled"):
            mesh.wait_consistent()
        load.wait_for_answers(3)
    assert load.failures == []
    service = json.loads(mesh.kubectl("get", "service", f"{mesh.name}-head", "-o=json"))
    assert service["spec"]["selector"] == {"slmmesh.io/cluster": "demo", "slmmesh.io/role": "head"}
