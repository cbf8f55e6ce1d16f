"""The API server goes, comes, is out of reach, and its watches break."""

import contextlib
import random
import signal
import time

from load import Load


def uids(mesh):
    return {pod["metadata"]["uid"] for pod in mesh.pods()}


def restarts(mesh):
    return sum(pod["status"]["containerStatuses"][0]["restartCount"] for pod in mesh.pods())


def test_restart_under_load(mesh, timing):
    before = uids(mesh)
    with Load(mesh) as load:
        load.wait_for_answers(3)
        with timing("API server stopped and started → a change is acted on"):
            mesh.cluster.api.restart()
            mesh.kubectl("scale", f"inferencecluster/{mesh.name}", "--replicas=2")
            mesh.wait(lambda status: status["workerGroups"][0]["wantedGroups"] == 2, "the operator acts", 60)
        mesh.wait_consistent()
        load.wait_for_answers(3)
    assert load.failures == []
    assert before < uids(mesh), "no pod was replaced"


@contextlib.contextmanager
def api_server_cut_off(cluster):
    """From all but the tests. The controller manager, beside it, is frozen: else it would miss the nodes and evict."""
    cluster.network.cut_off_api_server()
    cluster.controllers.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        cluster.network.join_api_server()
        cluster.controllers.signal(signal.SIGCONT)


def test_unreachable_for_a_minute(mesh, release, timing):
    """Nodes and pods cannot reach it; a change made meanwhile is acted on afterwards."""
    before = uids(mesh)
    operators = {pod["metadata"]["uid"] for pod in release.pods()}
    with Load(mesh) as load:
        load.wait_for_answers(3)
        with api_server_cut_off(mesh.cluster):
            mesh.kubectl("scale", f"inferencecluster/{mesh.name}", "--replicas=2")
            time.sleep(60)  # the outage itself
            load.wait_for_answers(3)
        with timing("API server back after 60 s → the change is acted on"):
            mesh.wait(lambda status: status["workerGroups"][0]["wantedGroups"] == 2, "the operator acts", 90)
        mesh.wait_consistent()
        load.wait_for_answers(3)
    assert load.failures == []
    assert before < uids(mesh), "no pod was replaced"
    assert operators == {pod["metadata"]["uid"] for pod in release.pods()}


def test_watches_break_at_random(mesh, release, timing):
    """The operators' connections are reset again and again while the spec changes and pods go."""
    seed = random.randrange(1 << 32)
    print("seed", seed)
    chance = random.Random(seed)
    addresses = [pod["status"]["podIP"] for pod in release.pods()]
    network = mesh.cluster.network
    with timing("24 s of broken watches and changes"):
        for round_number in range(12):
            with network.resetting_api_server(addresses):
                time.sleep(chance.uniform(0.05, 0.6))
            action = chance.choice(["scale", "delete", "label", "nothing"])
            if action == "scale":
                mesh.kubectl("scale", f"inferencecluster/{mesh.name}", f"--replicas={chance.choice([1, 2])}")
            elif action == "delete":
                mesh.kubectl("delete", "pod", chance.choice(mesh.pod_names()), "--wait=false")
            elif action == "label":
                mesh.kubectl("label", "inferencecluster", mesh.name, f"round={round_number}", "--overwrite")
            time.sleep(chance.uniform(0.2, 2))
    with timing("watches whole again → settled"):
        mesh.wait_consistent()
