"""mesh-operator against a real etcd and kube-apiserver, without kubelets, scheduler or controller manager: pods stay
Pending, and what is to be collected as garbage stays (nobody follows owner references here)."""

import base64
import os
import signal
import subprocess

import pytest

from kube_api import (CLUSTERS, PODS, ApiServer, Operator, make_cluster, missing_programs, prepare, wait_until,
                      wait_until_served)
from mesh import BUILD, ROOT

REASON = missing_programs()
pytestmark = pytest.mark.skipif(REASON is not None, reason=str(REASON))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with ApiServer(tmp_path_factory.mktemp("api")) as running:
        running.api = prepare(running)
        yield running


@pytest.fixture(scope="module")
def api(server):
    return server.api


@pytest.fixture(scope="module")
def operator(server, api, tmp_path_factory):
    running = Operator(tmp_path_factory.mktemp("operator"), server, BUILD).start()
    running.wait_until_leading()
    yield running
    running.stop()


@pytest.fixture
def namespace(api, request):
    name = request.node.name.replace("_", "-")[:50].strip("-")
    api.create("/api/v1/namespaces", {"metadata": {"name": name}})
    return name


def pods(api, namespace):
    """Those that are present: name → pod."""
    items = api.get(PODS.format(namespace))["items"]
    return {p["metadata"]["name"]: p for p in items if "deletionTimestamp" not in p["metadata"]}


def cluster(api, namespace, name="demo"):
    return api.get(f"{CLUSTERS.format(namespace)}/{name}")


def uids_of(found):
    return [pod["metadata"]["uid"] for pod in found.values()]


def uids(api, namespace):
    return uids_of(pods(api, namespace))


def wait_for_pods(api, namespace, names):
    return wait_until(lambda: set(pods(api, namespace)) == set(names) and pods(api, namespace),
                      f"pods {sorted(names)}, not {sorted(pods(api, namespace))}", 20)


def calls(operator, *verbs):
    return sum(value for name, value in operator.metrics().items()
               if name.startswith("slmmesh_operator_api_calls_total") and "leases" not in name and
               any(f'verb="{verb}"' in name for verb in verbs))


FOUR = ["demo-head-r1-0", "demo-router-r1-0", "demo-cpu-r1-0", "demo-cpu-r1-1"]


def test_a_cluster_becomes_objects_in_eight_calls(operator, api, namespace):
    before = calls(operator, "create", "apply", "patch", "get", "update", "delete")
    made = make_cluster(api, namespace, "demo", size=2)
    found = wait_for_pods(api, namespace, FOUR)
    status = wait_until(lambda: cluster(api, namespace).get("status"), "a status")
    assert calls(operator, "create", "apply", "patch", "get", "update", "delete") - before <= 8
    assert status["observedGeneration"] == 1 and status["revision"] == 1 and status["workerGroups"][0]["pods"] == 2
    for kind, name in (("services", "demo"), ("services", "demo-head"), ("secrets", "demo-tls"), ("pods", FOUR[0])):
        owner, = api.get(f"/api/v1/namespaces/{namespace}/{kind}/{name}")["metadata"]["ownerReferences"]
        assert owner["uid"] == made["metadata"]["uid"] and owner["controller"]
    assert found[FOUR[2]]["spec"]["containers"][0]["args"]


def test_certificates_are_of_the_pods_and_of_no_other_cluster(operator, api, namespace, tmp_path):
    for name in ("demo", "other"):
        make_cluster(api, namespace, name, size=2)
        data = wait_until(lambda: api.find(f"/api/v1/namespaces/{namespace}/secrets/{name}-tls"), "the Secret")["data"]
        for key, value in data.items():
            (tmp_path / f"{name}-{key}").write_bytes(base64.b64decode(value))
    leaf = tmp_path / "demo-demo-head-r1-0.crt"
    text = subprocess.run(["openssl", "x509", "-in", leaf, "-noout", "-text"], capture_output=True, text=True).stdout
    assert f"URI:spiffe://demo.{namespace}.slmmesh/head/demo-head-r1-0" in text
    verify = ["openssl", "verify", "-CAfile"]
    assert subprocess.run([*verify, tmp_path / "demo-ca.crt", leaf], capture_output=True).returncode == 0
    assert subprocess.run([*verify, tmp_path / "other-ca.crt", leaf], capture_output=True).returncode != 0


def test_a_deleted_pod_is_replaced_alone(operator, api, namespace):
    make_cluster(api, namespace, "demo", size=2)
    before = wait_for_pods(api, namespace, FOUR)
    api.delete(f"{PODS.format(namespace)}/demo-cpu-r1-1", gracePeriodSeconds=0)
    gone = before.pop("demo-cpu-r1-1")["metadata"]
    replacement, = wait_until(lambda: [p["metadata"] for p in pods(api, namespace).values()
                                       if p["metadata"]["labels"] == gone["labels"] and p["metadata"]["uid"] != gone["uid"]],
                              "a replacement in the same slot", 20)
    assert set(uids(api, namespace)) == {*uids_of(before), replacement["uid"]}


def test_a_terminating_pod_is_not_present(operator, api, namespace):
    make_cluster(api, namespace, "demo", size=2)
    wait_for_pods(api, namespace, FOUR)
    # A finalizer holds it, as a kubelet that still stops it would.
    path = f"{PODS.format(namespace)}/demo-cpu-r1-0"
    api.merge(path, {"metadata": {"finalizers": ["test.example/hold"]}})
    api.delete(path, gracePeriodSeconds=0)
    wait_for_pods(api, namespace, [*FOUR[:2], "demo-cpu-r1-1", "demo-cpu-r1-0-b"])
    api.merge(path, {"metadata": {"finalizers": None}})


def test_scale(operator, api, namespace):
    make_cluster(api, namespace, "demo", size=2)
    wait_for_pods(api, namespace, FOUR)
    scale = f"{CLUSTERS.format(namespace)}/demo/scale"
    api.merge(scale, {"spec": {"replicas": 2}})
    wait_for_pods(api, namespace, [*FOUR, "demo-cpu-r1-2", "demo-cpu-r1-3"])
    wait_until(lambda: cluster(api, namespace)["status"].get("groups") == 2, "the status counts both groups")
    assert api.get(scale)["status"]["replicas"] == 2


def test_another_model_makes_a_revision(operator, api, namespace):
    make_cluster(api, namespace, "demo", size=2)
    wait_for_pods(api, namespace, FOUR)
    api.merge(f"{CLUSTERS.format(namespace)}/demo", {"spec": {"model": {"path": "/models/other"}}})
    wait_until(lambda: cluster(api, namespace)["status"].get("revision") == 2, "revision 2", 20)
    wait_until(lambda: any("-r2-" in name for name in pods(api, namespace)), "a pod of revision 2", 20)
    history = cluster(api, namespace)["status"]["history"]
    assert [r["number"] for r in history] == [1, 2] and history[0]["spec"]["model"]["path"] == "/models/m"


def test_undo_by_annotation(operator, api, namespace):
    make_cluster(api, namespace, "demo", size=2)
    wait_for_pods(api, namespace, FOUR)
    path = f"{CLUSTERS.format(namespace)}/demo"
    api.merge(path, {"spec": {"model": {"path": "/models/other", "maxModelLen": 4096}}})
    wait_until(lambda: cluster(api, namespace)["status"].get("revision") == 2, "revision 2", 20)
    api.merge(path, {"metadata": {"annotations": {"slmmesh.io/rollback-to": "1"}}})
    wait_until(lambda: cluster(api, namespace)["spec"]["model"]["path"] == "/models/m", "the old spec", 20)
    now = cluster(api, namespace)
    assert "maxModelLen" not in now["spec"]["model"]
    assert "slmmesh.io/rollback-to" not in now["metadata"].get("annotations", {})


def test_a_conflicting_writer_is_repaired(operator, api, namespace):
    make_cluster(api, namespace, "demo", size=2)
    wait_for_pods(api, namespace, FOUR)
    path = f"/api/v1/namespaces/{namespace}/services/demo"
    api.merge(path, {"spec": {"selector": {"slmmesh.io/role": "nobody"}}})
    wait_until(lambda: api.get(path)["spec"]["selector"]["slmmesh.io/role"] == "router", "the selector is back", 20)
    status = f"{CLUSTERS.format(namespace)}/demo/status"
    api.merge(status, {"status": {"state": "Nonsense", "groups": 77}})
    wait_until(lambda: cluster(api, namespace)["status"]["state"] == "Creating", "the status is back", 20)
    api.delete(path)
    wait_until(lambda: api.find(path), "the Service is back", 20)


def test_nothing_is_written_while_nothing_changes(operator, api, namespace):
    make_cluster(api, namespace, "demo", size=2)
    wait_for_pods(api, namespace, FOUR)
    wait_until(lambda: cluster(api, namespace).get("status"), "a status")
    path = f"{CLUSTERS.format(namespace)}/demo"
    before = calls(operator, "create", "apply", "patch", "update", "delete", "get")
    passes = operator.metrics()["slmmesh_operator_reconcile_seconds_count"]
    api.merge(path, {"metadata": {"annotations": {"slmmesh.io/note": "look"}}})  # makes a pass
    wait_until(lambda: operator.metrics()["slmmesh_operator_reconcile_seconds_count"] > passes, "a pass")
    assert calls(operator, "create", "apply", "patch", "update", "delete", "get") == before


def test_a_name_that_is_taken_is_told(operator, api, namespace):
    api.create(PODS.format(namespace), {"metadata": {"name": "demo-cpu-r1-0"}, "spec": {
        "containers": [{"name": "c", "image": "other"}]}})
    make_cluster(api, namespace, "demo", size=2)
    events = f"/api/v1/namespaces/{namespace}/events"
    wait_until(lambda: [e for e in api.get(events)["items"] if "belongs to something else" in e["message"]],
               "an event that names the pod", 20)
    assert "belongs to something else" in cluster(api, namespace)["status"]["message"]


def test_a_service_of_anothers_is_not_taken_over(operator, api, namespace):
    services = f"/api/v1/namespaces/{namespace}/services"
    api.create(services, {"metadata": {"name": "demo"}, "spec": {"selector": {"app": "shop"}, "ports": [{"port": 80}]}})
    before = api.get(f"{services}/demo")
    make_cluster(api, namespace, "demo", size=2)
    message = "Service demo belongs to something else"
    wait_until(lambda: message in cluster(api, namespace).get("status", {}).get("message", ""), "a message that names it", 20)
    assert api.get(f"{services}/demo") == before
    api.delete(f"{services}/demo")
    wait_for_pods(api, namespace, FOUR)


def test_a_deleted_cluster_is_left_alone(operator, api, namespace):
    """Its pods are the garbage collector's, which does not run here: nothing is made anew for it."""
    make_cluster(api, namespace, "demo", size=2)
    wait_for_pods(api, namespace, FOUR)
    api.delete(f"{CLUSTERS.format(namespace)}/demo")
    api.delete(f"{PODS.format(namespace)}/demo-cpu-r1-1", gracePeriodSeconds=0)
    make_cluster(api, namespace, "next", size=2)
    wait_until(lambda: "next-cpu-r1-1" in pods(api, namespace), "the next cluster's pods", 20)
    assert "demo-cpu-r1-1" not in pods(api, namespace)


def test_admin_pages(operator):
    assert operator.page_status("/healthz", monitor=False) == 200
    assert operator.page_status("/readyz", monitor=False) == 200
    assert operator.page_status("/metrics", monitor=False) in (401, 403)
    assert operator.page_status("/metrics") == 200


def test_restart_goes_on_with_the_same_pods_and_certificates(operator, api, namespace):
    make_cluster(api, namespace, "demo", size=2)
    before = wait_for_pods(api, namespace, FOUR)
    wait_until(lambda: cluster(api, namespace).get("status"), "a status")
    secret = f"/api/v1/namespaces/{namespace}/secrets/demo-tls"
    certificates = api.get(secret)["data"]
    operator.stop()
    api.delete(f"{PODS.format(namespace)}/demo-cpu-r1-0", gracePeriodSeconds=0)
    operator.start()
    after = wait_until(lambda: len(pods(api, namespace)) == 4 and pods(api, namespace), "a replacement", 20)
    kept = set(FOUR) - {"demo-cpu-r1-0"}
    assert all(before[name]["metadata"]["uid"] == after[name]["metadata"]["uid"] for name in kept)
    data = api.get(secret)["data"]
    assert all(data[f"{name}.crt"] == certificates[f"{name}.crt"] for name in kept)
    assert data["ca.crt"] == certificates["ca.crt"]


def test_of_two_operators_one_leads_and_the_other_takes_over(operator, server, api, namespace, tmp_path):
    wait_until(operator.leads, "the first leads")
    second = Operator(tmp_path, server, BUILD, name="second").start()
    try:
        wait_until(second.answers, "the second answers")
        assert not second.leads() and operator.leads()
        operator.stop()  # releases the lease
        wait_until(second.leads, "the second leads", 10)
        make_cluster(api, namespace, "demo", size=2)
        wait_for_pods(api, namespace, FOUR)
    finally:
        second.stop()
        if not operator.process.running():
            operator.start()
        operator.wait_until_leading()


def test_a_killed_operator_starts_again(operator, api, namespace):
    operator.process.signal(signal.SIGKILL)
    wait_until(lambda: not operator.process.running(), "it is dead")
    make_cluster(api, namespace, "demo", size=2)
    operator.start()
    wait_until(lambda: set(pods(api, namespace)) == set(FOUR), "pods once its old lease has ended", 40)


RAY_CLUSTERS = "/apis/ray.io/v1/namespaces/{}/rayclusters"


@pytest.fixture
def adopting_operator(operator, server, api, tmp_path):
    """One that adopts leads for the time of a test, with the rights that the chart gives it then."""
    helm = server.programs / "helm"
    if not helm.exists():
        pytest.skip("helm is not built: e2e/cluster/build.sh")
    rights = subprocess.run([helm, "template", "slm-mesh", ROOT / "helm/slm-mesh", "--namespace=slm-system",
                             "--kube-version=1.36.0", "--set=adoptRayClusters=true",
                             "--show-only=templates/rbac.yaml"],
                            check=True, capture_output=True, text=True).stdout
    server.kubectl("apply", "-f", "-", stdin=rights)
    names = {"plural": "rayclusters", "singular": "raycluster", "kind": "RayCluster", "listKind": "RayClusterList"}
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    api.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "rayclusters.ray.io"},
        "spec": {"group": "ray.io", "scope": "Namespaced", "names": names, "versions": [
            {"name": "v1", "served": True, "storage": True, "schema": schema, "subresources": {"status": {}}}]}})
    wait_until_served(api, "rayclusters.ray.io")
    operator.stop()
    running = Operator(tmp_path, server, BUILD, name="adopting", flags=["--adopt-rayclusters"]).start()
    running.wait_until_leading()
    yield running
    running.stop()
    operator.start()
    operator.wait_until_leading()


def make_ray_cluster(api, namespace, name, labels=None, annotations=None):
    container = {"name": "ray", "image": "vllm/vllm-openai", "resources": {"requests": {"cpu": "1"}}}
    template = {"spec": {"containers": [container]}}
    return api.create(RAY_CLUSTERS.format(namespace), {
        "apiVersion": "ray.io/v1", "kind": "RayCluster",
        "metadata": {"name": name, "labels": labels or {}, "annotations": annotations or {}},
        "spec": {"headGroupSpec": {"rayStartParams": {}, "template": template}, "workerGroupSpecs": [
            {"groupName": "gpu", "replicas": 2, "minReplicas": 1, "maxReplicas": 8, "rayStartParams": {},
             "template": template}]}})


def events_on(api, namespace, name):
    return [event["reason"] for event in api.get(f"/api/v1/namespaces/{namespace}/events")["items"]
            if (event["involvedObject"]["kind"], event["involvedObject"]["name"]) == ("RayCluster", name)]


def test_labelled_rayclusters_are_adopted_and_kuberays_objects_left_alone(adopting_operator, api, namespace):
    label, model = {"slmmesh.io/adopt": "true"}, {"slmmesh.io/model-path": "/models/m"}
    ray_cluster = make_ray_cluster(api, namespace, "llm", label, model)
    owner = {"apiVersion": "ray.io/v1", "kind": "RayCluster", "name": "llm", "uid": ray_cluster["metadata"]["uid"],
             "controller": True}
    metadata = {"labels": {"ray.io/cluster": "llm"}, "ownerReferences": [owner]}
    kuberays = {
        PODS.format(namespace) + "/llm-head-x7k2p": api.create(PODS.format(namespace), {
            "metadata": {"name": "llm-head-x7k2p", **metadata}, "spec": {"containers": [{"name": "c", "image": "ray"}]}}),
        f"/api/v1/namespaces/{namespace}/services/llm-head-svc": api.create(f"/api/v1/namespaces/{namespace}/services", {
            "metadata": {"name": "llm-head-svc", **metadata}, "spec": {"ports": [{"port": 6379}]}})}
    make_ray_cluster(api, namespace, "unlabelled", {}, model)
    make_ray_cluster(api, namespace, "pathless", label)
    make_cluster(api, namespace, "mine")
    make_ray_cluster(api, namespace, "mine", label, model)

    workers = ["llm-gpu-r1-0", "llm-gpu-r1-1"]
    wait_until(lambda: {"llm-head-r1-0", "llm-router-r1-0", *workers} <= set(pods(api, namespace)), "the adopted pods", 20)
    path = f"{RAY_CLUSTERS.format(namespace)}/llm"
    assert api.get(path) == ray_cluster
    spec = ray_cluster["spec"]
    spec["workerGroupSpecs"][0]["replicas"] = 3
    changed = api.merge(path, {"spec": spec})
    wait_until(lambda: "llm-gpu-r1-2" in pods(api, namespace), "a worker more", 20)
    wait_until(lambda: events_on(api, namespace, "llm") and events_on(api, namespace, "pathless") and
               events_on(api, namespace, "mine"), "events", 20)
    assert set(events_on(api, namespace, "llm")) == {"Adopted"}
    assert events_on(api, namespace, "pathless") == events_on(api, namespace, "mine") == ["NotAdopted"]
    assert not {"pathless", "unlabelled"} & {c["metadata"]["name"] for c in api.get(CLUSTERS.format(namespace))["items"]}
    assert "annotations" not in cluster(api, namespace, "mine")["metadata"]
    assert api.get(path) == changed
    assert all(api.get(path) == before for path, before in kuberays.items())


def test_the_client_on_a_real_api_server(server):
    """The unit tests that operator/kube/real_server_test.cc skips elsewhere."""
    done = subprocess.run([BUILD / "tests/kube_real_server_test"], capture_output=True, text=True,
                          env={**os.environ, "KUBECONFIG_FOR_TESTS": str(server.kubeconfig)})
    assert done.returncode == 0 and "names no kubeconfig" not in done.stdout, done.stdout + done.stderr
