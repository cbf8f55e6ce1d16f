"""What the scenarios apply."""

import json

DIGEST = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def worker_template(memory="700Mi"):
    """A worker's pod: the models' volume, and ranks on different nodes as far as there are any."""
    return {"spec": {
        "containers": [{"name": "worker", "resources": {"requests": {"cpu": "20m", "memory": "300Mi"},
                                                        "limits": {"memory": memory}},
                        "volumeMounts": [{"name": "models", "mountPath": "/models", "readOnly": True}]}],
        "volumes": [{"name": "models", "persistentVolumeClaim": {"claimName": "models", "readOnly": True}}],
        "topologySpreadConstraints": [{
            "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": {"slmmesh.io/role": "worker"}}}]}}


def small_template(container):
    return {"spec": {"containers": [{"name": container,
                                     "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}}}]}}


def demo_manifest(name="demo", namespace="ai-core", size=2):
    return {
        "apiVersion": "slmmesh.io/v1alpha1", "kind": "InferenceCluster",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "model": {"servedName": "smollm2-135m-instruct", "path": "/models/v1.gguf", "sha256": DIGEST,
                      "maxModelLen": 1024},
            "tensorParallelSize": size,
            "memoryUtilization": 0.5,
            "engine": {"maxNumSeqs": 16, "maxNumBatchedTokens": 256, "threads": 1},
            "headGroupSpec": {"template": small_template("head")},
            "routerSpec": {"replicas": 1, "service": {"port": 8080}, "template": small_template("router")},
            "workerGroupSpecs": [{"groupName": "cpu", "accelerator": "cpu", "replicas": size, "minReplicas": 0,
                                  "maxReplicas": 4 * size, "template": worker_template()}],
            "rollout": {"maxSurge": 1, "maxUnavailable": 0, "drainSeconds": 20},
        }}


def prepare_namespace(cluster, namespace, models):
    """A namespace that takes nothing but restricted pods, and a claim on the folder with the models."""
    cluster.kubectl("apply", "-f=-", stdin=_list([{"apiVersion": "v1", "kind": "Namespace", "metadata": {
        "name": namespace, "labels": {"pod-security.kubernetes.io/enforce": "restricted",
                                      "pod-security.kubernetes.io/enforce-version": "latest"}}}]))
    volume = f"models-{namespace}"
    cluster.kubectl("apply", "-f=-", stdin=_list([
        {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": volume}, "spec": {
            "capacity": {"storage": "1Gi"}, "accessModes": ["ReadOnlyMany"], "storageClassName": "",
            "hostPath": {"path": str(models), "type": "Directory"},
            "claimRef": {"namespace": namespace, "name": "models"}}},
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "models", "namespace": namespace},
         "spec": {"accessModes": ["ReadOnlyMany"], "storageClassName": "", "volumeName": volume,
                  "resources": {"requests": {"storage": "1Gi"}}}}]))


def _list(items):
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
