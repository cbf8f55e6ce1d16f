"""The chart and the custom resource against the real programs: kube-apiserver, etcd, kubectl and helm."""

import sys

import pytest
import yaml

from sources import CRD, ROOT

sys.path.insert(0, str(ROOT / "e2e/cluster"))
from apiserver import ApiServer, built_programs


@pytest.fixture(scope="session")
def helm():
    folder = built_programs("helm")
    if folder is None:
        pytest.skip("helm is not built; run e2e/cluster/build.sh")
    return str(folder / "helm")


@pytest.fixture(scope="session")
def api(tmp_path_factory):
    folder = built_programs("etcd", "kube-apiserver", "kubectl")
    if folder is None:
        pytest.skip("kube-apiserver is not built; run e2e/cluster/build.sh api")
    with ApiServer(tmp_path_factory.mktemp("api"), programs=folder) as server:
        server.kubectl("create", "namespace", "ai-core")
        yield server


@pytest.fixture(scope="session")
def crd(api):
    """The API server with the InferenceCluster kind."""
    api.kubectl("apply", "-f", CRD)
    api.kubectl("wait", "--for=condition=Established", "crd/inferenceclusters.slmmesh.io", "--timeout=30s")
    return api


@pytest.fixture(scope="session")
def schema():
    version = yaml.safe_load(CRD.read_text())["spec"]["versions"][0]
    return version["schema"]["openAPIV3Schema"]["properties"]
