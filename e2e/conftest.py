"""What the scenarios share: the running cluster, the installed chart, one served model, and the table of timings."""

import contextlib
import functools
import json
import os
import pathlib
import sys
import time

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "cluster")]
from helm_release import HelmRelease
from inference_cluster import InferenceCluster
from manifests import demo_manifest, prepare_namespace
from nodes import Cluster

# Cheap and basic first; what takes the release away last.
ORDER = ["serving", "scaling", "rollout", "failures", "nodes", "api_server", "trouble", "import", "monitoring", "helm"]
_timings = []


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: ORDER.index(item.path.stem.removeprefix("test_")))


@pytest.fixture(scope="session")
def cluster():
    """Both nodes, started by run.py, which also takes them down."""
    return Cluster(os.environ["E2E_FOLDER"]).up()


@pytest.fixture(scope="session")
def release(cluster):
    """The chart, installed."""
    release = HelmRelease(cluster)
    release.install()
    return release


@contextlib.contextmanager
def timed(scenario, what):
    begin = time.monotonic()
    yield
    _timings.append((scenario, what, time.monotonic() - begin))


@pytest.fixture(scope="session")
def demo(cluster, release):
    """The small model, split over two pods, in a namespace of the restricted profile; it has answered once."""
    manifest = demo_manifest()
    prepare_namespace(cluster, manifest["metadata"]["namespace"], os.environ["E2E_MODELS"])
    cluster.kubectl("wait", "--for=condition=Established", "crd/inferenceclusters.slmmesh.io")
    demo = InferenceCluster(cluster, manifest)
    with timed("first_answer", "kubectl apply → first answer"):
        demo.apply()
        with timed("first_answer", "kubectl apply → condition Ready"):
            demo.wait_ready_condition()
        demo.first_answer = demo.ask()
    return demo


@pytest.fixture
def mesh(demo):
    """Before the test as its manifest says, after it consistent, whatever happened in between."""
    demo.reset()
    yield demo
    demo.wait_consistent()
    assert demo.ask() == demo.first_answer


@pytest.fixture
def timing(request):
    """with timing("from kill to routable"): … adds a line to the table."""
    return functools.partial(timed, request.node.name.removeprefix("test_"))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Of a failed test: what the cluster looked like then."""
    report = (yield).get_result()
    if report.failed and "cluster" in getattr(item, "funcargs", {}):
        report.sections.append(("the cluster", diagnosis(item.funcargs["cluster"])))


def diagnosis(cluster):
    parts = []
    for arguments in (["get", "nodes,inferenceclusters,pods", "-A", "-o=wide"],
                      ["get", "events", "-A", "--sort-by=.lastTimestamp"],
                      ["get", "inferenceclusters", "-A", "-o=jsonpath={.items[*].status}"],
                      ["logs", "-n=slm-system", "-l=app.kubernetes.io/component=operator", "--tail=40", "--prefix"],
                      ["logs", "-n=ai-core", "-l=slmmesh.io/cluster", "--tail=12", "--prefix"]):
        output = cluster.kubectl(*arguments, "--request-timeout=20s", check=False) or ""
        parts.append(f"$ kubectl {' '.join(arguments)}\n" + "\n".join(output.splitlines()[-60:]))
    return "\n\n".join(parts)


def pytest_terminal_summary(terminalreporter):
    if not _timings:
        return
    terminalreporter.section("timings")
    width = max(len(scenario) for scenario, _, _ in _timings)
    for scenario, what, seconds in _timings:
        terminalreporter.write_line(f"{scenario:{width}}  {seconds:7.2f} s  {what}")
    path = os.environ.get("E2E_TIMINGS")
    if path:
        pathlib.Path(path).write_text(json.dumps(
            [{"scenario": scenario, "what": what, "seconds": round(seconds, 3)}
             for scenario, what, seconds in _timings], indent=1) + "\n")
