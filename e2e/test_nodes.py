"""Nodes that leave, with notice and without."""

import pytest

from load import Load
from processes import wait_until


@pytest.fixture
def second_node(mesh):
    """n2, which is there again after the test. The tests' own way into the cluster leads through n1."""
    node = mesh.cluster.nodes[1]
    yield node
    mesh.cluster.up()
    mesh.cluster.kubectl("uncordon", node.name)


def nodes_of(mesh):
    return {pod["spec"].get("nodeName") for pod in mesh.pods()}


def test_drain(mesh, second_node, timing):
    mesh.kubectl("scale", f"inferencecluster/{mesh.name}", "--replicas=2")
    mesh.wait_consistent()
    with Load(mesh) as load:
        load.wait_for_answers(3)
        with timing("kubectl drain n2 → everything serves on n1"):
            mesh.cluster.kubectl("drain", second_node.name, "--ignore-daemonsets", "--delete-emptydir-data",
                                 "--timeout=180s")
            mesh.wait_consistent()
        load.wait_for_answers(3)
    assert nodes_of(mesh) == {"n1"}
    assert not any("→" in what for _, what in load.failures), load.failures


def test_sudden_death(mesh, second_node, timing):
    """Its power fails: the API server hears nothing more of it."""
    # Spread over both nodes, wherever the test before left them.
    mesh.kubectl("delete", "pod", *mesh.pod_names("worker"))
    mesh.wait_consistent()
    assert second_node.name in nodes_of(mesh)
    with timing("node dead → everything serves on the other"):
        second_node.die()
        with timing("node dead → Kubernetes gives it up"):
            wait_until(lambda: mesh.cluster.ready_nodes() == ["n1"], "n2 is NotReady", 60)
        wait_until(lambda: nodes_of(mesh) == {"n1"}, "the operator replaces what was there", 60)
        mesh.wait_ready()
    assert mesh.ask() == mesh.first_answer
    with timing("node back → settled"):
        mesh.cluster.up()
        mesh.wait_consistent()
