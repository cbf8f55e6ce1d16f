"""The chart and the custom resource against the real programs: kube-apiserver, etcd, kubectl and helm."""

import os
import pathlib
import sys

import pytest
import yaml

from sources import CRD, ROOT

sys.path.insert(0, str(ROOT / "e2e/cluster"))
from apiserver import ApiServer


def built_programs(*names):
    """The newest folder of e2e/cluster/build.sh that has all of them; None where they are not built."""
    cache = os.environ.get("SLM_MESH_CLUSTER_CACHE")
    if not cache:
        cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "slm-mesh/cluster-bin"
    folders = [folder for folder in pathlib.Path(cache).glob("*") if all((folder / name).exists() for name in names)]
    return max(folders, key=lambda folder: folder.stat().st_mtime, default=None)


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
