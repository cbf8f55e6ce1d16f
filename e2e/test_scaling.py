"""More and fewer groups, by kubectl scale and by load."""

from load import Load


def test_scale_up_and_down_under_load(mesh, timing):
    with Load(mesh) as load:
        load.wait_for_answers(3)
        with timing("kubectl scale 1 → 2 groups, routable"):
            mesh.kubectl("scale", f"inferencecluster/{mesh.name}", "--replicas=2")
            mesh.wait(lambda status: status["groupsSummary"] == "2/2", "two groups are routable")
        mesh.wait_consistent()
        load.wait_for_answers(6)
        with timing("kubectl scale 2 → 1 groups, drained and gone"):
            mesh.kubectl("scale", f"inferencecluster/{mesh.name}", "--replicas=1")
            mesh.wait_consistent()
        load.wait_for_answers(3)
    assert load.failures == []


def test_scale_keeps_what_serves(mesh):
    """The group that stays is one that was there: no pod is restarted for a number."""
    before = set(mesh.pod_names("worker"))
    mesh.kubectl("scale", f"inferencecluster/{mesh.name}", "--replicas=2")
    mesh.wait_consistent()
    assert before < set(mesh.pod_names("worker"))
    mesh.kubectl("scale", f"inferencecluster/{mesh.name}", "--replicas=1")
    mesh.wait_consistent()
    assert len(mesh.pod_names("worker")) == 2


def test_routers_scale(mesh, timing):
    with timing("2 routers ready"):
        mesh.patch({"routerSpec": {"replicas": 2}})
        mesh.wait_consistent()


def test_scale_to_zero_and_back_by_a_request(mesh, timing):
    with timing("idle for 3 s → no workers"):
        mesh.patch({"autoscaling": {"scaleToZeroAfterSeconds": 3, "scaleDownAfterSeconds": 1}})
        mesh.wait(lambda status: status["state"] == "ScaledToZero", "no group is left", 60)
    assert mesh.pod_names("worker") == []
    with timing("request to nobody → answer"):
        answer = mesh.ask(client=mesh.client(max_retries=20))
    assert answer == mesh.first_answer
    mesh.patch({"autoscaling": None})
    mesh.wait_consistent()
