"""A new version under load: no request fails, whatever one changes one's mind to in the middle."""

import pytest

from load import Load

V1, V2 = "/models/v1.gguf", "/models/v2.gguf"


def versions(mesh):
    """The model paths that worker pods were made for, oldest pod first."""
    def path(pod):
        return next(argument.removeprefix("--model=") for argument in pod["spec"]["containers"][0]["args"]
                    if argument.startswith("--model="))
    return [path(pod) for pod in sorted(mesh.pods("worker"), key=lambda pod: pod["metadata"]["creationTimestamp"])]


def wait_until_both_versions_are_there(mesh):
    mesh.wait(lambda status: len(set(versions(mesh))) == 2, "pods of the new version beside those of the old")


@pytest.fixture
def two_groups(mesh):
    mesh.kubectl("scale", f"inferencecluster/{mesh.name}", "--replicas=2")
    mesh.wait_consistent()
    return mesh


def test_new_model_under_load(two_groups, timing):
    mesh = two_groups
    with Load(mesh) as load:
        load.wait_for_answers(3)
        with timing("new model, 2 groups, surge 1 → all of it serves"):
            mesh.patch({"model": {"path": V2}})
            mesh.wait_consistent()
        load.wait_for_answers(3)
    assert load.failures == []
    assert set(versions(mesh)) == {V2}
    history = mesh.status()["history"]
    assert [revision["spec"]["model"]["path"] for revision in history][-2:] == [V1, V2]


def test_revert_in_mid_rollout(two_groups, timing):
    mesh = two_groups
    before = {pod["metadata"]["uid"] for pod in mesh.pods("worker")}
    with Load(mesh) as load:
        load.wait_for_answers(3)
        mesh.patch({"model": {"path": V2}})
        wait_until_both_versions_are_there(mesh)
        with timing("revert in mid-rollout → settled"):
            mesh.patch({"model": {"path": V1}})
            mesh.wait_consistent()
        load.wait_for_answers(3)
    assert load.failures == []
    assert set(versions(mesh)) == {V1}
    assert before & {pod["metadata"]["uid"] for pod in mesh.pods("worker")}, "pods of the old version are kept"


def test_third_spec_in_mid_rollout(two_groups, timing):
    mesh = two_groups
    with Load(mesh) as load:
        load.wait_for_answers(3)
        mesh.patch({"model": {"path": V2}})
        wait_until_both_versions_are_there(mesh)
        with timing("third spec in mid-rollout → settled"):
            mesh.patch({"model": {"path": V2}, "engine": {"maxNumSeqs": 8}})
            mesh.wait_consistent()
        load.wait_for_answers(3)
    assert load.failures == []
    assert all("--max-num-seqs=8" in pod["spec"]["containers"][0]["args"] for pod in mesh.pods("worker"))


def test_in_place(two_groups, timing):
    """Without room for another group: one goes, then its successor comes."""
    mesh = two_groups
    with Load(mesh) as load:
        load.wait_for_answers(3)
        with timing("new model, 2 groups, in place → all of it serves"):
            mesh.patch({"model": {"path": V2}, "rollout": {"maxSurge": 0, "maxUnavailable": 1}})
            mesh.wait_consistent()
        load.wait_for_answers(3)
    assert load.failures == []


def test_rollout_that_cannot_progress_and_undo(mesh, timing):
    """An image that does not exist: the old group serves on, the status says why, one command undoes it."""
    before = {pod["metadata"]["uid"] for pod in mesh.pods()}
    template = {**mesh.manifest["spec"]["workerGroupSpecs"][0]["template"]}
    template["spec"] = {**template["spec"], "containers": [
        {**template["spec"]["containers"][0], "image": "localhost/slm-mesh-worker:missing"}]}
    with Load(mesh) as load:
        load.wait_for_answers(1)
        with timing("image missing → status says so"):
            mesh.patch({"rollout": {"progressDeadlineSeconds": 10}})
            revision = mesh.status()["revision"]
            mesh.patch_first_group(template=template)
            mesh.wait(lambda status: "slm-mesh-worker:missing cannot be pulled" in status["message"], "the reason")
        mesh.wait(lambda status: mesh.condition("Progressing", status)["reason"] == "ProgressDeadlineExceeded",
                  "the rollout stops")
        assert mesh.condition("Ready")["status"] == "True"
        load.wait_for_answers(3)
        with timing("undo → settled"):
            mesh.kubectl("annotate", "inferencecluster", mesh.name, f"slmmesh.io/rollback-to={revision}")
            mesh.wait_consistent()
    assert load.failures == []
    assert {pod["metadata"]["uid"] for pod in mesh.pods()} == before, "what served all along is still the same"
