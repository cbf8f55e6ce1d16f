"""The schema of InferenceCluster: every rule refuses with its sentence, good manifests pass, defaults and /scale work."""

import copy
import json
import os
import pathlib
import re
import subprocess

import pytest
import yaml

from sources import CRD, ROOT

TABLE = yaml.safe_load((pathlib.Path(__file__).parent / "refusals.yaml").read_text())


def merged(base, patch):
    if not isinstance(patch, dict) or not isinstance(base, dict):
        return patch
    result = copy.deepcopy(base)
    for key, value in patch.items():
        result[key] = merged(result.get(key), value)
        if value is None:
            del result[key]
    return result


def try_kubectl(api, *arguments, manifest=None):
    """(whether it went well, everything it said)"""
    command = [str(api.programs / "kubectl"), f"--kubeconfig={api.kubeconfig}", *arguments]
    done = subprocess.run(command, input=json.dumps(manifest) if manifest else None, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    return done.returncode == 0, done.stdout


def apply(api, manifest, *flags):
    return try_kubectl(api, "apply", "-f", "-", *flags, manifest=manifest)


@pytest.mark.parametrize("case", TABLE["refusals"], ids=lambda case: json.dumps(case["with"])[:80])
def test_refused_with_its_sentence(crd, case):
    taken, said = apply(crd, merged(TABLE["base"], case["with"]), "--dry-run=server")
    assert not taken
    assert case["api"] in said


def test_the_base_of_the_table_is_taken(crd):
    taken, said = apply(crd, TABLE["base"], "--dry-run=server")
    assert taken, said


@pytest.mark.parametrize("file", sorted((ROOT / "deploy/examples").glob("*.yaml")), ids=lambda file: file.name)
def test_examples_are_taken(crd, file):
    manifest = yaml.safe_load(file.read_text())
    if file.name == "local.yaml":  # of one machine: its path is relative to the file
        taken, said = apply(crd, manifest, "--dry-run=server")
        assert not taken and "is relative" in said
        manifest["spec"]["model"]["path"] = "/models/model.gguf"
    taken, said = apply(crd, manifest, "--dry-run=server")
    assert taken, said


def test_defaults_columns_and_scale(crd):
    manifest = merged(TABLE["base"], {"metadata": {"name": "scaled"}})
    assert apply(crd, manifest)[0]
    cluster = json.loads(crd.kubectl("get", "ic", "scaled", "-o", "json"))
    assert cluster["spec"]["engine"] == {"blockSize": 16, "maxNumSeqs": 64, "maxNumBatchedTokens": 512,
                                         "enablePrefixCaching": True}
    assert cluster["spec"]["rollout"]["drainSeconds"] == 60
    assert cluster["spec"]["routerSpec"]["service"] == {"type": "ClusterIP", "port": 8080}
    assert "autoscaling" not in cluster["spec"]

    assert try_kubectl(crd, "scale", "ic", "scaled", "--replicas=3")[0]
    assert json.loads(crd.kubectl("get", "ic", "scaled", "-o", "json"))["spec"]["groups"] == 3
    taken, said = try_kubectl(crd, "scale", "ic", "scaled", "--replicas=5")
    assert not taken and "write 4 groups at most" in said

    status = {"status": {"groups": 3, "groupsSummary": "2/3", "selector": "slmmesh.io/cluster=scaled", "state": "Scaling",
                         "tokensPerSecond": 12.5, "conditions": [{"type": "Ready", "status": "False"}]}}
    crd.kubectl("patch", "ic", "scaled", "--subresource=status", "--type=merge", "-p", json.dumps(status))
    scale = json.loads(crd.kubectl("get", "--raw", "/apis/slmmesh.io/v1alpha1/namespaces/default/inferenceclusters/"
                                                   "scaled/scale"))
    assert scale["spec"]["replicas"] == 3
    assert scale["status"] == {"replicas": 3, "selector": "slmmesh.io/cluster=scaled"}
    table = [re.split(r"\s{2,}", line) for line in crd.kubectl("get", "ic", "scaled").splitlines()]
    assert table[0] == ["NAME", "MODEL", "GROUPS", "TOKENS/S", "STATE", "AGE"]
    assert table[1][:5] == ["scaled", "tiny", "2/3", "12.5", "Scaling"]
    assert apply(crd, manifest)[0], "applied again: the scale stays"
    assert json.loads(crd.kubectl("get", "ic", "scaled", "-o", "json"))["spec"]["groups"] == 3
    crd.kubectl("delete", "ic", "scaled")


def test_a_group_keeps_its_accelerator(crd):
    def with_accelerator(accelerator, group="gpu"):
        return merged(TABLE["base"], {"metadata": {"name": "kept"}, "spec": {"workerGroupSpecs": [
            {"groupName": group, "accelerator": accelerator}]}})

    assert apply(crd, with_accelerator("auto"))[0]
    assert apply(crd, with_accelerator("cpu"))[0], "auto may be made definite"
    taken, said = apply(crd, with_accelerator("nvidia"))
    assert not taken and "a group keeps its accelerator (cpu); add a group with another groupName and nvidia" in said
    assert apply(crd, with_accelerator("nvidia", "other"))[0]
    crd.kubectl("delete", "ic", "kept")


def test_what_pods_may_have_besides_is_kept(crd):
    pod = {"metadata": {"labels": {"a": "b"}}, "spec": {
        "runtimeClassName": "x", "containers": [{"name": "worker", "resources": {"limits": {"nvidia.com/gpu": 1}},
                                                 "livenessProbe": {"periodSeconds": 3}}]}}
    manifest = merged(TABLE["base"], {"metadata": {"name": "pods"}, "spec": {"workerGroupSpecs": [
        {"groupName": "a", "template": pod}]}})
    taken, said = apply(crd, manifest)
    assert taken, said
    assert json.loads(crd.kubectl("get", "ic", "pods", "-o", "json"))["spec"]["workerGroupSpecs"][0]["template"] == pod
    crd.kubectl("delete", "ic", "pods")


def test_explain_reads_well(crd):
    text = crd.kubectl("explain", "inferencecluster.spec", "--recursive=false")
    assert "How many pods share one copy of the model" in text
    assert "Pods; tensorParallelSize of them" in crd.kubectl("explain", "ic.spec.workerGroupSpecs")
    assert "(`kubectl explain pod.spec`)" in crd.kubectl("explain", "ic.spec.workerGroupSpecs.template.spec")


def test_an_imported_raycluster_is_taken(crd, tmp_path):
    mesh = pathlib.Path(os.environ.get("MESH_BUILD_DIR", ROOT / "build")) / "bin/mesh"
    if not mesh.exists():
        pytest.skip(f"{mesh} is not built; run make build")
    done = subprocess.run([mesh, "import", pathlib.Path(__file__).parent / "raycluster.yaml"], capture_output=True,
                          text=True, check=True)
    assert "spec.model.path: to be filled in" in done.stderr
    taken, said = apply(crd, yaml.safe_load(done.stdout), "--dry-run=server")
    assert taken, said


# The schema and the message: a field of one is a field of the other.

def proto_messages():
    text = re.sub(r"//[^\n]*", "", (ROOT / "proto/slmmesh/v1/cluster.proto").read_text())
    field = re.compile(r"(optional|repeated)?\s*([\w.]+)\s+(\w+)\s*=\s*\d+;")
    return {name: [match.groups() for match in field.finditer(body)]
            for name, body in re.findall(r"message (\w+) \{(.*?)\n\}", text, re.S)}


TYPES = {"uint32": ("integer", "int32"), "double": ("number", "double"), "float": ("number", "double"),
         "string": ("string", None), "bool": ("boolean", None)}


def compare(schema, messages, message, path, wrong):
    fields = {re.sub(r"_(\w)", lambda match: match[1].upper(), name): (label, kind)
              for label, kind, name in messages[message]}
    aliases = {"gpuMemoryUtilization"} if message == "InferenceClusterSpec" else set()
    for name in set(fields) ^ (set(schema["properties"]) - aliases):
        wrong.append(f"{path}.{name}: only in the {'message' if name in fields else 'schema'}")
    for name, (label, kind) in fields.items():
        node = schema["properties"].get(name, {})
        if "description" not in node and name in schema["properties"]:
            wrong.append(f"{path}.{name}: has no description")
        if label == "repeated":
            node = node.get("items", {})
        if kind in messages:
            compare(node, messages, kind, f"{path}.{name}", wrong)
        elif kind in TYPES and (node.get("type"), node.get("format")) != TYPES[kind]:
            wrong.append(f"{path}.{name}: {node.get('type')} {node.get('format')}, not {kind}")


def test_schema_and_message_have_the_same_fields(schema):
    wrong = []
    for part, message in (("spec", "InferenceClusterSpec"), ("status", "InferenceClusterStatus")):
        compare(schema[part], proto_messages(), message, part, wrong)
    assert not wrong, "\n".join(wrong)


def test_the_three_pod_templates_are_the_same(schema):
    spec = schema["spec"]["properties"]
    templates = {"head": spec["headGroupSpec"]["properties"]["template"],
                 "router": spec["routerSpec"]["properties"]["template"],
                 "worker": spec["workerGroupSpecs"]["items"]["properties"]["template"]}
    texts = set()
    for role, template in templates.items():
        rest = {key: value for key, value in template.items() if key != "description"}
        texts.add(json.dumps(rest, sort_keys=True).replace(f"`{role}`", "`ROLE`"))
    assert len(texts) == 1


def test_lines_of_the_schema_can_be_read():
    assert not [n for n, line in enumerate(CRD.read_text().splitlines(), 1) if len(line) > 120]
