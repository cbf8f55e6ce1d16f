"""Processes and pods that die, one at a time."""

import json
import subprocess
import threading
import time

import openai

from helm_release import kill_program
from load import Load
from processes import wait_until


def starts(pods):
    """When each pod's container started, by pod: what a restart or a replacement changes."""
    return {pod["metadata"]["name"]: pod["status"]["containerStatuses"][0]["state"]["running"]["startedAt"]
            for pod in pods}


def wait_for_answer(mesh, timeout_s=60):
    """Until a request succeeds again."""
    def answers():
        try:
            return mesh.ask() == mesh.first_answer
        except openai.OpenAIError:
            return False
    wait_until(answers, "an answer", timeout_s)


def test_delete_a_worker_pod_during_a_stream(mesh, timing):
    """The stream ends, with an error or whole, but does not hang; the other rank keeps its weights; the replacement
    takes the same rank."""
    victim, survivor = mesh.pods("worker")
    before = starts([survivor])
    ended = threading.Event()

    def stream():
        try:
            for _ in mesh.client().completions.create(model="smollm2-135m-instruct", prompt="Once", max_tokens=900,
                                                      temperature=0, stream=True):
                pass
        except openai.OpenAIError:
            pass
        ended.set()
    threading.Thread(target=stream, daemon=True).start()
    mesh.wait(lambda status: status["workerGroups"][0].get("runningRequests") == 1, "the stream runs", 30)
    with timing("worker pod deleted at once → group routable again"):
        mesh.kubectl("delete", "pod", victim["metadata"]["name"], "--grace-period=0", "--force")
        with timing("worker pod deleted at once → replacement exists"):
            wait_until(lambda: set(mesh.pod_names("worker")) - {victim["metadata"]["name"]} !=
                       {survivor["metadata"]["name"]} or mesh.pods("worker")[0]["metadata"]["uid"] !=
                       victim["metadata"]["uid"], "a replacement", step_s=0.02)
        wait_for_answer(mesh)
    assert ended.wait(40), "the stream hangs"
    mesh.wait_consistent()
    assert starts(mesh.pods("worker"))[survivor["metadata"]["name"]] == before[survivor["metadata"]["name"]]
    loads = mesh.kubectl("logs", survivor["metadata"]["name"]).count("worker.loaded")
    assert loads == 1, "the survivor read its weights again"


def test_delete_a_worker_pod_politely(mesh, timing):
    """As kubectl does: the pod drains while its replacement comes."""
    victim = mesh.pods("worker")[0]["metadata"]["name"]
    with timing("worker pod deleted politely → group routable again"):
        mesh.kubectl("delete", "pod", victim, "--wait=false")
        mesh.wait_consistent()


def test_kill_a_worker(mesh, timing):
    victim = mesh.pods("worker")[1]
    with timing("worker killed → answer"):
        kill_program(mesh.cluster, victim, "mesh-worker")
        wait_for_answer(mesh)
    assert victim["metadata"]["uid"] in {pod["metadata"]["uid"] for pod in mesh.pods("worker")}, "restarted in place"


def test_kill_one_worker_of_two_groups_under_load(mesh, timing):
    """The other group serves on."""
    mesh.kubectl("scale", f"inferencecluster/{mesh.name}", "--replicas=2")
    mesh.wait_consistent()
    with Load(mesh) as load:
        load.wait_for_answers(6)
        with timing("worker of 2 groups killed → settled"):
            kill_program(mesh.cluster, mesh.pods("worker")[0], "mesh-worker")
            wait_until(lambda: mesh.status()["groupsSummary"] == "1/2", "one group is broken", 30)
            mesh.wait_consistent()
        load.wait_for_answers(6)
    # Those that ran on the broken group may end with an error; nothing beyond them, and nothing wrong.
    assert len(load.failures) <= 3 and not any("→" in what for _, what in load.failures), load.failures


def test_kill_the_head_under_load(mesh, timing):
    """It is off the data path."""
    with Load(mesh) as load:
        load.wait_for_answers(3)
        with timing("head killed → settled"):
            kill_program(mesh.cluster, mesh.pods("head")[0], "mesh-head")
            wait_until(lambda: mesh.pods("head")[0]["status"]["containerStatuses"][0]["restartCount"] >= 1,
                       "the head restarts", 30)
            mesh.wait_consistent()
        load.wait_for_answers(3)
    assert load.failures == []


def test_delete_the_head_under_load(mesh, timing):
    with Load(mesh) as load:
        load.wait_for_answers(3)
        with timing("head pod deleted → settled"):
            mesh.kubectl("delete", "pod", mesh.pod_names("head")[0], "--wait=false")
            mesh.wait_consistent()
        load.wait_for_answers(3)
    assert load.failures == []


def test_kill_a_router(mesh, timing):
    mesh.patch({"routerSpec": {"replicas": 2}})
    mesh.wait_consistent()
    with Load(mesh) as load:
        load.wait_for_answers(3)
        with timing("router of 2 killed → settled"):
            kill_program(mesh.cluster, mesh.pods("router")[0], "mesh-router")
            mesh.wait_consistent()
        load.wait_for_answers(3)
    # Connections through it break, and until kube-proxy hears of it, new ones are refused.
    assert all("Connection" in what or "RemoteProtocolError" in what or "peer closed" in what
               for _, what in load.failures), load.failures


def test_kill_the_operators_leader(mesh, release, timing):
    with Load(mesh) as load:
        load.wait_for_answers(1)
        with timing("operator's leader killed → another one acts"):
            killed = release.kill_leader()
            mesh.kubectl("scale", f"inferencecluster/{mesh.name}", "--replicas=2")
            mesh.wait(lambda status: status["workerGroups"][0]["wantedGroups"] == 2, "somebody acts", 60)
        mesh.wait_consistent()
    assert load.failures == []
    assert release.leader(), f"nobody leads after {killed}"


def test_delete_the_operators_leader(mesh, release, timing):
    """SIGTERM: the lease is given back, so the next one need not wait for its end."""
    leader = release.leader()
    with timing("operator's leader deleted → another one leads"):
        release.kubectl("delete", "pod", leader, "--wait=false")
        release.wait_for_leader(other_than=leader)


def test_evictions_respect_the_budget(mesh, timing):
    """Two groups: one pod may be evicted; the next has to wait until the group is whole again."""
    mesh.kubectl("scale", f"inferencecluster/{mesh.name}", "--replicas=2")
    mesh.wait_consistent()
    wait_until(lambda: mesh.objects("poddisruptionbudgets")[0]["status"].get("disruptionsAllowed") == 1, "room for one")
    first, second = mesh.pod_names("worker")[:2]
    with timing("pod evicted → settled"):
        assert evict(mesh, first) == ""
        assert "disruption budget" in evict(mesh, second)
        time.sleep(1)
        mesh.wait_consistent()


def evict(mesh, pod):
    """Empty, or why the API server refuses."""
    body = json.dumps({"apiVersion": "policy/v1", "kind": "Eviction",
                       "metadata": {"name": pod, "namespace": mesh.namespace}})
    result = subprocess.run(
        [mesh.cluster.programs / "kubectl", f"--kubeconfig={mesh.cluster.kubeconfig}", "create", "-f=-",
         f"--raw=/api/v1/namespaces/{mesh.namespace}/pods/{pod}/eviction"], input=body, capture_output=True, text=True)
    return result.stderr.strip() if result.returncode else ""
