"""The chart as a release on the test cluster."""

import json
import os
import pathlib
import signal

from processes import wait_until

ROOT = pathlib.Path(__file__).resolve().parent.parent
NAMESPACE = "slm-system"
LEASE = "slm-mesh-operator"
ROLES = ("head", "router", "worker", "operator")


class HelmRelease:
    def __init__(self, cluster):
        self.cluster = cluster

    def _helm(self, *arguments):
        return self.cluster.helm(*arguments, f"--namespace={NAMESPACE}")

    def install(self, tag=os.environ.get("E2E_TAG")):
        """Also over one that is installed: helm upgrade --install."""
        self.cluster.kubectl("apply", "-f=-", stdin=json.dumps({
            "apiVersion": "v1", "kind": "Namespace", "metadata": {
                "name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}))
        self._helm("upgrade", "--install", "slm-mesh", ROOT / "helm/slm-mesh", "--set=images.registry=localhost",
                   "--set=prometheus.scrapeConfig=true", *[f"--set-string=images.{role}.tag={tag}" for role in ROLES],
                   "--wait", "--timeout=120s")

    def rollback(self):
        self._helm("rollback", "slm-mesh", "--wait", "--timeout=120s")

    def uninstall(self):
        self._helm("uninstall", "slm-mesh", "--wait", "--timeout=120s")

    def kubectl(self, *arguments, **options):
        return self.cluster.kubectl(f"--namespace={NAMESPACE}", *arguments, **options)

    def pods(self):
        found = json.loads(self.kubectl("get", "pods", "-l=app.kubernetes.io/component=operator", "-o=json"))["items"]
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def leader(self):
        """The Lease's holder: the name of a pod, or empty."""
        return self.kubectl("get", "lease", LEASE, "-o=jsonpath={.spec.holderIdentity}", check=False) or ""

    def wait_for_leader(self, other_than=None, timeout_s=60):
        return wait_until(lambda: (name := self.leader()) and name != other_than and name,
                          f"an operator other than {other_than} leads", timeout_s)

    def kill_leader(self):
        name = self.leader()
        pod = next(pod for pod in self.pods() if pod["metadata"]["name"] == name)
        kill_program(self.cluster, pod, "mesh-operator")
        return name


def kill_program(cluster, pod, program, number=signal.SIGKILL):
    """A signal to a pod's process, from outside, as the kernel's OOM killer would."""
    for node in cluster.nodes:
        if node.name != pod["spec"].get("nodeName"):
            continue
        for pid in node.pids_of(pod["metadata"]["uid"]):
            command = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]
            if command.endswith(program.encode()):
                os.kill(pid, number)
                return
    raise AssertionError(f"no process {program} of pod {pod['metadata']['name']}")
