"""A manifest of KubeRay's turned into one of ours, and taken by a real API server."""

import json
import os
import pathlib
import subprocess

from inference_cluster import InferenceCluster
from processes import wait_until

HERE = pathlib.Path(__file__).resolve().parent


def test_kuberay_manifest(cluster, mesh, timing):
    """Imported as it stands it wants GPUs, which workers cannot use yet: the status says so; on CPUs it serves."""
    result = subprocess.run(
        [pathlib.Path(os.environ["E2E_BUILD"]) / "bin/mesh", "import", HERE / "raycluster.yaml",
         "--model-path=/models/v1.gguf", "--served-name=smollm2-135m-instruct",
         "--tensor-parallel-size=2"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    for meaningless in ("rayStartParams", "rayVersion"):
        assert meaningless in result.stderr, "it says which fields have no meaning here"
    cluster.kubectl("apply", "-f=-", stdin=result.stdout)
    imported = InferenceCluster(cluster, {"metadata": {"name": "imported", "namespace": "ai-core"},
                                          "spec": {"model": {"servedName": "smollm2-135m-instruct"}}})
    try:
        group = imported.get()["spec"]["workerGroupSpecs"][0]
        assert (group["replicas"], group["minReplicas"], group["maxReplicas"]) == (4, 2, 8)
        imported.wait(lambda status: '"nvidia" is not served' in status.get("message", ""), "why it is not served")
        container = group["template"]["spec"]["containers"][0]
        container["resources"] = {"requests": {"cpu": "20m", "memory": "300Mi"}, "limits": {"memory": "700Mi"}}
        imported.patch({"memoryUtilization": 0.5, "engine": {"threads": 1}, "workerGroupSpecs": [
            {**group, "groupName": "cpu-group", "accelerator": "cpu", "replicas": 2}], "model": {"maxModelLen": 1024}})
        with timing("imported manifest, without its GPUs → Ready"):
            imported.wait_consistent()
        assert imported.ask() == mesh.first_answer
    finally:
        cluster.kubectl("delete", "-n=ai-core", "inferencecluster", "imported")
        wait_until(lambda: not mesh.objects("pods", "-l=slmmesh.io/cluster=imported"), "its pods are gone", 60)
