"""A real Kubernetes API without nodes, spoken to as plain JSON, and mesh-operator beside it."""

import base64
import http.client
import json
import pathlib
import re
import ssl
import sys
import tempfile
import threading
import time
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "e2e/cluster"))
from apiserver import ApiServer, built_programs, free_ports  # noqa: E402
from processes import Process, wait_until  # noqa: E402

MANIFESTS = ROOT / "deploy/kustomize"
CRD = ROOT / "deploy/crds/slmmesh.io_inferenceclusters.yaml"
OPERATOR_NAMESPACE = "slm-system"
LONGEST_IDLE_S = 30  # an API server ends connections that nobody uses
CLUSTERS = "/apis/slmmesh.io/v1alpha1/namespaces/{}/inferenceclusters"
PODS = "/api/v1/namespaces/{}/pods"


def missing_programs():
    """Why no API server can be started here; None: it can."""
    return None if built_programs("etcd", "kubectl") else "etcd and kube-apiserver have not been built: e2e/cluster/build.sh api"


class ApiError(Exception):
    def __init__(self, code, message):
        super().__init__(f"{code}: {message}")
        self.code = code


class KubeApi:
    """One keep-alive connection per thread; JSON in and out."""

    def __init__(self, kubeconfig):
        config = json.loads(pathlib.Path(kubeconfig).read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self.address = urllib.parse.urlparse(cluster["server"]).netloc
        with tempfile.TemporaryDirectory() as folder:
            files = {}
            for name, data in (("ca", cluster["certificate-authority-data"]), ("cert", user["client-certificate-data"]),
                               ("key", user["client-key-data"])):
                files[name] = pathlib.Path(folder) / name
                files[name].write_bytes(base64.b64decode(data))
            self._tls = ssl.create_default_context(cafile=files["ca"])
            self._tls.load_cert_chain(files["cert"], files["key"])
        self._local = threading.local()

    def connect(self):
        return http.client.HTTPSConnection(self.address, context=self._tls, timeout=30)

    def call(self, method, path, body=None, content_type="application/json"):
        now = time.monotonic()
        if now - getattr(self._local, "used", 0) > LONGEST_IDLE_S or not hasattr(self._local, "connection"):
            self._local.connection = self.connect()
        self._local.used = now
        connection = self._local.connection
        connection.request(method, path, None if body is None else json.dumps(body), {"Content-Type": content_type})
        response = connection.getresponse()
        answer = json.loads(response.read())
        if response.status >= 300:
            raise ApiError(response.status, answer.get("message"))
        return answer

    def get(self, path):
        return self.call("GET", path)

    def find(self, path):
        """None where there is no such object."""
        try:
            return self.get(path)
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    def create(self, path, body):
        return self.call("POST", path, body)

    def merge(self, path, patch):
        return self.call("PATCH", path, patch, "application/merge-patch+json")

    def delete(self, path, **options):
        return self.call("DELETE", path, {"kind": "DeleteOptions", "apiVersion": "v1", **options})

    def watch(self, path, selector=""):
        """(event type, metadata) of all objects from now on, until the connection is closed by the caller."""
        connection = self.connect()
        connection.timeout = None
        version = self.get(f"{path}?limit=1&labelSelector={selector}")["metadata"]["resourceVersion"]
        connection.request("GET", f"{path}?watch=1&resourceVersion={version}&labelSelector={selector}", headers={
            "Accept": "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"})
        return connection, connection.getresponse()


def make_cluster(api, namespace, name, replicas=2, size=1, max_replicas=8, model="m"):
    return api.create(CLUSTERS.format(namespace), {
        "apiVersion": "slmmesh.io/v1alpha1", "kind": "InferenceCluster", "metadata": {"name": name},
        "spec": {
            "model": {"servedName": model, "path": "/models/m"}, "tensorParallelSize": size,
            "workerGroupSpecs": [{
                "groupName": "cpu", "replicas": replicas, "minReplicas": size, "maxReplicas": max_replicas,
                "template": {"spec": {"containers": [{
                    "name": "worker", "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}]}}}]}})


def sign_in_as_operator(api_server, path):
    """A kubeconfig with a token of the operator's service account, which may do what the chart lets it do."""
    config = json.loads(api_server.kubeconfig.read_text())
    tokens = f"/api/v1/namespaces/{OPERATOR_NAMESPACE}/serviceaccounts/slm-mesh-operator/token"
    token = KubeApi(api_server.kubeconfig).create(tokens, {
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 24 * 3600}})
    config["users"][0]["user"] = {"token": token["status"]["token"]}
    path.write_text(json.dumps(config))
    return path


class Operator:
    """mesh-operator as a process of this machine, signed in as its service account."""

    def __init__(self, folder, api_server, build, name="operator", flags=()):
        folder = pathlib.Path(folder)
        self.process = Process(folder, name)
        self.tls = folder / f"{name}-tls"
        self._port = free_ports(1)[0]
        self._api = KubeApi(api_server.kubeconfig)
        kubeconfig = sign_in_as_operator(api_server, folder / f"{name}.conf")
        self._command = [pathlib.Path(build) / "bin/mesh-operator", f"--kubeconfig={kubeconfig}",
                         f"--namespace={OPERATOR_NAMESPACE}", f"--pod-name={name}", f"--tls-dir={self.tls}",
                         f"--admin-listen=127.0.0.1:{self._port}", *flags]

    def start(self):
        self.process.start(self._command)
        return self

    def stop(self):
        self.process.stop()

    def _page(self, path, monitor=True):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False  # it is named by its role, not by its address
        secret = self._api.get(f"/api/v1/namespaces/{OPERATOR_NAMESPACE}/secrets/slm-mesh-monitor")["data"]
        pem = {name: base64.b64decode(value).decode() for name, value in secret.items()}
        context.load_verify_locations(cadata=pem["ca.crt"])
        if monitor:
            with tempfile.TemporaryDirectory() as folder:
                cert, key = pathlib.Path(folder) / "cert", pathlib.Path(folder) / "key"
                cert.write_text(pem["tls.crt"])
                key.write_text(pem["tls.key"])
                context.load_cert_chain(cert, key)
        connection = http.client.HTTPSConnection("127.0.0.1", self._port, context=context, timeout=10)
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()

    def metrics(self):
        """{"name{labels}": value}, as the Secret slm-mesh-monitor lets Prometheus read them."""
        text = self._page("/metrics")[1]
        return {key: float(value) for key, value in re.findall(r"^(slmmesh_\S+(?:\{[^}]*\})?) (\S+)$", text, re.M)}

    def page_status(self, path, monitor=True):
        return self._page(path, monitor)[0]

    def answers(self):
        try:
            return self.page_status("/readyz") == 200
        except (ApiError, OSError):
            return False

    def leads(self):
        return self.answers() and self.metrics().get("slmmesh_operator_is_leader") == 1

    def wait_until_leading(self, timeout_s=30):
        wait_until(self.leads, "the operator leads", timeout_s)
        return self


def wait_until_served(api, crd):
    path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{crd}"
    wait_until(lambda: any(condition["type"] == "Established" and condition["status"] == "True"
                           for condition in api.get(path).get("status", {}).get("conditions") or []), crd, 30)


def prepare(api_server):
    """The CRD, the operator's namespace, its service account and what that may do; returns a KubeApi."""
    api_server.kubectl("apply", "--server-side", "-f", CRD)
    api = KubeApi(api_server.kubeconfig)
    wait_until_served(api, "inferenceclusters.slmmesh.io")
    api.create("/api/v1/namespaces", {"metadata": {"name": OPERATOR_NAMESPACE}})
    api_server.kubectl("apply", "-f", MANIFESTS / "serviceaccount.yaml", "-f", MANIFESTS / "rbac.yaml")
    return api
