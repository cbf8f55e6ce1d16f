"""One InferenceCluster on the test cluster: apply, look, wait, ask, and check that everything fits together."""

import copy
import json
import subprocess
import time

import openai

from processes import wait_until

ROLES = ("head", "router", "worker")


class InferenceCluster:
    """By namespace and name; `manifest` is what reset() returns to."""

    def __init__(self, cluster, manifest):
        self.cluster = cluster
        self.manifest = manifest
        self.namespace = manifest["metadata"]["namespace"]
        self.name = manifest["metadata"]["name"]

    # The API.

    def kubectl(self, *arguments, **options):
        return self.cluster.kubectl("-n", self.namespace, *arguments, **options)

    def objects(self, *arguments):
        return json.loads(self.kubectl("get", *arguments, "-o=json"))["items"]

    def apply(self, manifest=None):
        return self.kubectl("apply", "-f=-", stdin=json.dumps(manifest or self.manifest))

    def patch(self, spec, **options):
        """A merge patch of the spec."""
        return self.kubectl("patch", "inferencecluster", self.name, "--type=merge",
                            f"--patch={json.dumps({'spec': spec})}", **options)

    def patch_first_group(self, **fields):
        """Lists are replaced whole in a merge patch, so the rest of the group is written again."""
        group = copy.deepcopy(self.get()["spec"]["workerGroupSpecs"][0])
        group.update(fields)
        self.patch({"workerGroupSpecs": [group]})

    def get(self):
        return json.loads(self.kubectl("get", "inferencecluster", self.name, "-o=json"))

    def status(self):
        return self.get().get("status", {})

    def condition(self, kind, status=None):
        conditions = (self.status() if status is None else status).get("conditions", [])
        return next((condition for condition in conditions if condition["type"] == kind), {})

    def pods(self, role=None):
        """Those that are not on their way out, by name."""
        selector = f"slmmesh.io/cluster={self.name}" + (f",slmmesh.io/role={role}" if role else "")
        return sorted((pod for pod in self.objects("pods", f"-l={selector}")
                       if "deletionTimestamp" not in pod["metadata"]), key=lambda pod: pod["metadata"]["name"])

    def pod_names(self, role=None):
        return [pod["metadata"]["name"] for pod in self.pods(role)]

    def events(self):
        return [(event["reason"], event["message"]) for event in
                self.objects("events", f"--field-selector=involvedObject.name={self.name}")]

    # Waiting.

    def wait(self, condition, what, timeout_s=90):
        """condition(status) of the newest status that speaks of the newest spec; the status is in the error."""
        last = {}

        def holds():
            found = self.get()
            last.update(found.get("status", {}))
            current = last.get("observedGeneration") == found["metadata"]["generation"]
            return current and condition(found["status"]) and found["status"]
        try:
            return wait_until(holds, what, timeout_s, step_s=0.2)
        except TimeoutError as error:
            raise AssertionError(f"{error}\nstatus: {json.dumps(last, indent=1)}") from None

    def wait_ready(self, timeout_s=120):
        """Serving as the spec wants, with nothing left to do."""
        def is_settled(status):
            reasons = {condition["type"]: condition["reason"] for condition in status.get("conditions", [])}
            return (status["state"] == "Ready" and reasons.get("Progressing") == "Complete"
                    and not status.get("draining"))
        return self.wait(is_settled, f"{self.name} is Ready and settled", timeout_s)

    def wait_ready_condition(self, timeout_s=120):
        """As a person does it; why not, if not."""
        try:
            self.kubectl("wait", "--for=condition=Ready", f"inferencecluster/{self.name}", f"--timeout={timeout_s}s")
        except subprocess.CalledProcessError:
            raise AssertionError(f"not Ready within {timeout_s} s; status: {self.status()}") from None

    def wait_consistent(self, timeout_s=120):
        """Ready, and everything that exists fits; what does not fit is in the error."""
        self.wait_ready(timeout_s)
        deadline = time.monotonic() + 60
        while True:
            wrong = self.inconsistencies()
            if not wrong:
                return
            assert time.monotonic() < deadline, "\n".join([f"{self.name} is not consistent:", *wrong])
            time.sleep(0.5)

    def inconsistencies(self):
        """Everything the cluster is made of against spec and status: what is missing, too much, old or broken."""
        found = self.get()
        spec, status = found["spec"], found["status"]
        size = spec.get("tensorParallelSize", 1)
        group = spec["workerGroupSpecs"][0]
        groups = spec.get("groups", group.get("replicas", size) // size)
        selector = f"-l=slmmesh.io/cluster={self.name}"
        pods = self.objects("pods", selector)
        names = [pod["metadata"]["name"] for pod in pods]
        wrong = []

        def expect(what, actual, wanted):
            if actual != wanted:
                wrong.append(f"{what}: {actual}, wanted {wanted}")
        counts = {role: sum(pod["metadata"]["labels"]["slmmesh.io/role"] == role for pod in pods) for role in ROLES}
        expect("pods", counts, {"head": 1, "router": spec.get("routerSpec", {}).get("replicas", 1),
                                "worker": groups * size})
        for pod in pods:
            labels, metadata = pod["metadata"]["labels"], pod["metadata"]
            ready = any(condition["type"] == "Ready" and condition["status"] == "True"
                        for condition in pod["status"].get("conditions", []))
            expect(f"{metadata['name']} ready", ready and "deletionTimestamp" not in metadata, True)
            expect(f"{metadata['name']} owner", [owner["uid"] for owner in metadata["ownerReferences"]],
                   [found["metadata"]["uid"]])
        hashes = {pod["metadata"]["labels"]["slmmesh.io/hash"] for pod in pods
                  if pod["metadata"]["labels"]["slmmesh.io/role"] == "worker"}
        expect("versions of workers", len(hashes), 1 if groups else 0)
        # Those of pods that left go when the next ones are issued.
        expect("certificates missing", sorted({"ca.crt", *(f"{name}.{end}" for name in names for end in ("crt", "key"))}
                                              - self._certificates()), [])
        expect("services", sorted(service["metadata"]["name"] for service in self.objects("services", selector)),
               sorted([self.name, f"{self.name}-head"]))
        expect("disruption budgets", len(self.objects("poddisruptionbudgets", selector)), 1 if groups >= 2 else 0)
        expect("groupsSummary", status.get("groupsSummary"), f"{groups}/{groups}")
        expect("observedGeneration", status.get("observedGeneration"), found["metadata"]["generation"])
        return wrong

    def _certificates(self):
        secret = json.loads(self.kubectl("get", "secret", f"{self.name}-tls", "-o=json"))
        return set(secret.get("data", {}))

    def reset(self):
        """Back to `manifest`, whatever the test before left; then consistent."""
        live = json.loads(self.kubectl("get", "inferencecluster", self.name, "-o=json", "--ignore-not-found") or "{}")
        if live:
            wanted = {**self.manifest, "metadata": {**live["metadata"]}, "status": live.get("status", {})}
            wanted["metadata"].pop("managedFields", None)
            # A replace, not an apply: fields that a test added go away.
            if wanted["spec"] != live["spec"]:
                wanted["metadata"].pop("resourceVersion", None)
                self.kubectl("replace", "-f=-", stdin=json.dumps(wanted))
        else:
            self.apply()
        self.wait_consistent()

    # Asking.

    @property
    def address(self):
        """host:port of the Service, as it is reached from beside the cluster."""
        service = json.loads(self.kubectl("get", "service", self.name, "-o=json"))
        return f"{service['spec']['clusterIP']}:{service['spec']['ports'][0]['port']}"

    def client(self, **options):
        """The official client, without retries: a failed request shows."""
        return openai.OpenAI(base_url=f"http://{self.address}/v1", api_key="none",
                             **{"max_retries": 0, "timeout": 120, **options})

    def ask(self, prompt="The capital of France is", tokens=16, client=None):
        """A deterministic completion's text."""
        answer = (client or self.client()).completions.create(
            model=self.manifest["spec"]["model"]["servedName"], prompt=prompt, max_tokens=tokens, temperature=0)
        return answer.choices[0].text
