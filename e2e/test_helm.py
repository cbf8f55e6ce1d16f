"""The release changes and goes; what serves does not notice."""

import os
import subprocess

from helm_release import NAMESPACE, ROLES, ROOT
from load import Load
from processes import wait_until


def uids(mesh):
    return {pod["metadata"]["uid"] for pod in mesh.pods()}


def test_upgrade_and_rollback_under_load(mesh, release, timing):
    """To images of another tag: a new operator, and the serving pods as they were."""
    before, operators = uids(mesh), {pod["metadata"]["uid"] for pod in release.pods()}
    tag, next_tag = os.environ["E2E_TAG"], os.environ["E2E_TAG"] + "-next"
    for node in mesh.cluster.nodes:
        for role in ROLES:
            node.tag_image(f"localhost/slm-mesh-{role}:{tag}", f"localhost/slm-mesh-{role}:{next_tag}")
    with Load(mesh) as load:
        load.wait_for_answers(3)
        with timing("helm upgrade to another tag"):
            release.install(next_tag)
        mesh.wait_consistent()
        assert uids(mesh) == before, "an operator's upgrade restarts nothing that serves"
        assert operators.isdisjoint(pod["metadata"]["uid"] for pod in release.pods())
        with timing("helm rollback"):
            release.rollback()
        mesh.wait_consistent()
        load.wait_for_answers(3)
    assert load.failures == []
    assert uids(mesh) == before


def test_wrong_values_are_refused(release):
    result = subprocess.run(
        [release.cluster.programs / "helm", f"--kubeconfig={release.cluster.kubeconfig}", "upgrade", "slm-mesh",
         ROOT / "helm/slm-mesh", f"--namespace={NAMESPACE}", "--set=replicas=many"], capture_output=True, text=True)
    assert result.returncode != 0 and "replicas" in result.stderr


def test_uninstall_and_install_again(mesh, release, timing):
    """Without an operator everything serves on; the next one takes over what it finds."""
    before = uids(mesh)
    with Load(mesh) as load:
        load.wait_for_answers(3)
        release.uninstall()
        assert not release.pods()
        load.wait_for_answers(6)
        assert uids(mesh) == before
        with timing("helm install beside serving clusters"):
            release.install()
        mesh.kubectl("scale", f"inferencecluster/{mesh.name}", "--replicas=2")
        mesh.wait_consistent()
        load.wait_for_answers(3)
    assert load.failures == []
    assert before < uids(mesh)


def test_deleting_the_cluster_removes_everything(mesh, timing):
    selector = f"-l=slmmesh.io/cluster={mesh.name}"
    with timing("kubectl delete → nothing left"):
        mesh.kubectl("delete", "inferencecluster", mesh.name, "--wait=true")
        wait_until(lambda: not mesh.objects("pods,services,poddisruptionbudgets,secrets", selector),
                   "everything is gone", 90)
    mesh.apply()
