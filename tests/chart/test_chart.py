"""The chart: what it makes, what its values refuse, what the operator may do, and its life on a real API server."""

import json
import os
import re
import subprocess
import sys

import pytest
import yaml

from sources import ROOT

CHART = ROOT / "helm/slm-mesh"


def template(helm, *values):
    command = [helm, "template", "slm-mesh", CHART, "--namespace=slm-system", "--kube-version=1.36.0"]
    for value in values:
        command += ["--set-json", value]
    done = subprocess.run(command, capture_output=True, text=True)
    objects = [each for each in yaml.safe_load_all(done.stdout) if each] if done.returncode == 0 else []
    return objects, done.stderr


def by_kind(objects, kind):
    return [each for each in objects if each["kind"] == kind]


def names(objects):
    return {(each["kind"], each["metadata"].get("namespace", ""), each["metadata"]["name"]) for each in objects}


ALL = ["adoptRayClusters=true", "prometheus.scrapeConfig=true", "prometheus.podMonitor.enabled=true",
       "prometheus.serviceMonitor.enabled=true", "networkPolicy.enabled=true"]


def test_files_are_what_the_chart_makes_of_them(helm):
    """deploy/crds and deploy/dashboards in the chart, and the chart's output in deploy/kustomize."""
    done = subprocess.run([sys.executable, ROOT / "tools/render_manifests.py", "--check", helm], capture_output=True,
                          text=True)
    assert done.returncode == 0, f"tools/render_manifests.py HELM brings these up to date:\n{done.stdout}{done.stderr}"


def test_kustomize_makes_the_same_objects(helm, api):
    made, _ = template(helm)
    plain = list(yaml.safe_load_all(api.kubectl("kustomize", ROOT / "deploy/kustomize")))
    namespaces = by_kind(plain, "Namespace")
    assert [each["metadata"]["name"] for each in namespaces] == ["slm-system"]
    assert namespaces[0]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"

    def sorted_objects(objects):
        return sorted((each for each in objects if each["kind"] != "Namespace"),
                      key=lambda each: (each["kind"], each["metadata"]["name"]))

    assert sorted_objects(plain) == sorted_objects(made)


@pytest.mark.parametrize("value, word", [
    ("replicas=0", "replicas"), ("replicas=\"two\"", "replicas"), ("replica=2", "replica"),
    ("images.pullPolicy=\"Sometimes\"", "pullPolicy"), ("images.worker.tag=\"a b\"", "tag"),
    ("images.worker.digest=\"x\"", "digest"), ("images.pullSecrets=[\"x\"]", "pullSecrets"),
    ("watchNamespaces=[\"Team_A\"]", "watchNamespaces"), ("watchNamespaces=\"team-a\"", "watchNamespaces"),
    ("threads=1000", "threads"), ("certificateHours=0", "certificateHours"), ("extraArgs=[\"x\"]", "extraArgs"),
    ("resources.limits.memory=\"64GB\"", "memory"), ("resources.claims=[]", "claims"),
    ("prometheus.podMonitor.interval=\"soon\"", "interval"), ("prometheus.annotations=\"yes\"", "annotations"),
    ("crds.keep=true", "keep"), ("rbac.create=1", "create"), ("nodeSelector.gpu=true", "gpu"),
])
def test_wrong_values_are_refused_by_name(helm, value, word):
    objects, said = template(helm, value)
    assert not objects
    assert "don't meet the specifications of the schema" in said and word in said


def test_every_switch_adds_or_removes_its_objects(helm):
    base = names(template(helm)[0])
    for value, kinds in {
            "prometheus.scrapeConfig=true": {"ConfigMap"}, "prometheus.podMonitor.enabled=true": {"PodMonitor"},
            "prometheus.serviceMonitor.enabled=true": {"Service", "ServiceMonitor"},
            "networkPolicy.enabled=true": {"NetworkPolicy"}, "watchNamespaces=[\"a\",\"b\"]": {"RoleBinding"}}.items():
        objects, said = template(helm, value)
        assert objects, said
        assert {kind for kind, _, _ in names(objects) - base} == kinds, value
    for value, kinds in {
            "crds.install=false": {"CustomResourceDefinition"}, "podDisruptionBudget.enabled=false": {"PodDisruptionBudget"},
            "dashboards.enabled=false": {"ConfigMap"}, "serviceAccount.create=false": {"ServiceAccount"},
            "rbac.aggregate=false": {"ClusterRole"}, "watchNamespaces=[\"a\"]": {"ClusterRoleBinding"}}.items():
        assert {kind for kind, _, _ in base - names(template(helm, value)[0])} == kinds, value


def test_dashboards_are_config_maps_that_grafana_finds(helm):
    maps = by_kind(template(helm)[0], "ConfigMap")
    assert {each["metadata"]["labels"]["grafana_dashboard"] for each in maps} == {"1"}
    made = {name: json.loads(text) for each in maps for name, text in each["data"].items()}
    assert made == {f"slm-mesh-{file.name}": json.loads(file.read_text())
                    for file in (ROOT / "deploy/dashboards").glob("*.json")}


def test_the_scrape_configs_are_yaml(helm):
    config, = [each for each in by_kind(template(helm, "prometheus.scrapeConfig=true")[0], "ConfigMap")
               if each["metadata"]["name"] == "slm-mesh-prometheus"]
    jobs = yaml.safe_load(config["data"]["scrape_configs.yaml"])
    assert [job["job_name"] for job in jobs] == ["slm-mesh-operator", "slm-mesh-clusters"]


def test_flags_are_the_operators(helm):
    sources = "".join((ROOT / name).read_text() for name in ("operator/flags.cc", "common/flags.cc"))
    known = set(re.findall(r"ABSL_FLAG\([\w:]+, (\w+),", sources))
    deployment, = by_kind(template(helm, "watchNamespaces=[\"a\",\"b\"]", *ALL)[0], "Deployment")
    args = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    assert "--watch-namespaces=a,b" in args and "--adopt-rayclusters=true" in args
    assert {arg.split("=")[0][2:].replace("-", "_") for arg in args} <= known


def test_pods_are_admitted_to_a_restricted_namespace(helm, api):
    deployment, = by_kind(template(helm)[0], "Deployment")
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "operator", "namespace": "restricted"},
           "spec": deployment["spec"]["template"]["spec"]}
    api.kubectl("apply", "-f", "-", stdin=json.dumps({
        "apiVersion": "v1", "kind": "Namespace", "metadata": {
            "name": "restricted", "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}))
    api.kubectl("apply", "--dry-run=server", "-f", "-", stdin=json.dumps(pod))


MAY = [("list", "inferenceclusters", "team"), ("watch", "inferenceclusters", "team"),
       ("patch", "inferenceclusters", "team"), ("patch", "inferenceclusters/status", "team"), ("get", "services", "team"),
       ("create", "pods", "team"), ("delete", "pods", "team"), ("watch", "pods", "team"), ("patch", "services", "team"),
       ("create", "services", "team"), ("delete", "poddisruptionbudgets", "team"), ("get", "secrets", "team"),
       ("create", "secrets", "team"), ("patch", "secrets", "team"), ("create", "events", "team"),
       ("create", "leases", "slm-system"), ("update", "leases/slm-mesh-operator", "slm-system")]
MAY_NOT = [("list", "secrets", "team"), ("watch", "secrets", "team"), ("delete", "secrets", "team"),
           ("list", "secrets", "slm-system"), ("delete", "inferenceclusters", "team"), ("create", "pods/exec", "team"),
           ("get", "inferenceclusters", "team"), ("get", "pods/log", "team"), ("create", "deployments", "team"),
           ("get", "nodes", "team"),
           ("get", "configmaps", "team"), ("create", "inferenceclusters", "team"), ("get", "rayclusters", "team"),
           ("create", "leases", "team"), ("update", "leases/other", "slm-system"), ("create", "clusterroles", "team"),
           ("create", "serviceaccounts/token", "slm-system"), ("delete", "services", "team")]


@pytest.fixture(scope="module")
def installed(helm, api):
    """helm on the real API server; the kind is the chart's own."""
    environment = dict(os.environ, KUBECONFIG=str(api.kubeconfig), HELM_CACHE_HOME=str(api.folder / "helm"))
    api.kubectl("delete", "crd", "inferenceclusters.slmmesh.io", "--ignore-not-found")

    def run(*arguments):
        done = subprocess.run([helm, *map(str, arguments), "--namespace=slm-system"], env=environment, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert done.returncode == 0, done.stdout
        return done.stdout

    run("install", "slm-mesh", CHART, "--create-namespace")
    api.kubectl("wait", "--for=condition=Established", "crd/inferenceclusters.slmmesh.io", "--timeout=30s")
    return run


def test_the_operator_may_do_what_it_does_and_no_more(installed, api):
    def may(verb, resource, namespace):
        kind, _, rest = resource.partition("/")
        extra = []
        if rest:
            extra = [f"--subresource={rest}"] if kind in ("inferenceclusters", "pods", "serviceaccounts") else []
        what = kind if extra or not rest else resource
        return api.kubectl("auth", "can-i", verb, what, *extra, f"--namespace={namespace}", "--quiet=false",
                           "--as=system:serviceaccount:slm-system:slm-mesh-operator", check=False,
                           stderr=subprocess.DEVNULL).strip() == "yes"

    assert [each for each in MAY if not may(*each)] == []
    assert [each for each in MAY_NOT if may(*each)] == []


def test_a_life_of_install_upgrade_rollback_and_uninstall_keeps_clusters(installed, api):
    assert "InferenceCluster: kubectl explain" in installed("get", "notes", "slm-mesh")
    api.kubectl("apply", "-f", ROOT / "deploy/examples/inferencecluster.yaml")
    uid = api.kubectl("get", "ic", "-n", "ai-core", "-o", "jsonpath={.items[*].metadata.uid}")
    installed("upgrade", "slm-mesh", CHART, "--set", "replicas=3")
    installed("rollback", "slm-mesh", "1")
    assert api.kubectl("get", "deployment", "-n", "slm-system", "-o", "jsonpath={.items[*].spec.replicas}") == "2"
    installed("uninstall", "slm-mesh")
    assert api.kubectl("get", "deployment", "-n", "slm-system", "-o", "name") == ""
    installed("install", "slm-mesh", CHART)  # takes over the kind that it left
    assert api.kubectl("get", "ic", "-n", "ai-core", "-o", "jsonpath={.items[*].metadata.uid}") == uid != ""
    installed("uninstall", "slm-mesh")
