"""A real Prometheus with the chart's scrape configuration, and every expression of the chart's dashboards."""

import base64
import json
import re
import urllib.parse
import urllib.request

import pytest

from load import Load
from processes import Process, wait_until

PORT = 19090


@pytest.fixture(scope="module")
def prometheus(cluster, release, demo, tmp_path_factory):
    """Beside the cluster; a kubeconfig stands in for the service account that it would have inside."""
    folder = tmp_path_factory.mktemp("prometheus")
    secret = json.loads(release.kubectl("get", "secret", "slm-mesh-monitor", "-o=json"))["data"]
    for name, value in secret.items():
        (folder / name).write_bytes(base64.b64decode(value))
    config = json.loads(release.kubectl("get", "configmap", "slm-mesh-prometheus", "-o=json"))["data"]
    jobs = config["scrape_configs.yaml"].replace("/etc/prometheus/slm-mesh", str(folder))
    jobs, changed = re.subn(r"\{role: pod\}", f"{{role: pod, kubeconfig_file: {cluster.kubeconfig}}}", jobs)
    assert changed == 2
    (folder / "prometheus.yml").write_text(
        f"global: {{scrape_interval: 2s, scrape_timeout: 2s}}\nscrape_configs:\n{jobs}\n")
    process = Process(folder, "prometheus")
    process.start([cluster.programs / "prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
                   f"--web.listen-address=127.0.0.1:{PORT}", "--log.level=warn"])
    try:
        wait_until(lambda: is_ready(process), "Prometheus answers", 60)
        yield get
    finally:
        process.stop()


def get(path, **query):
    url = f"http://127.0.0.1:{PORT}{path}?{urllib.parse.urlencode(query)}"
    with urllib.request.urlopen(url, timeout=20) as answer:
        return json.load(answer)["data"]


def is_ready(process):
    assert process.running(), process.last_lines()
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/-/ready", timeout=5):
            return True
    except OSError:
        return False


def test_every_pod_is_scraped(prometheus, mesh, release):
    wanted = {pod["metadata"]["name"] for pod in [*mesh.pods(), *release.pods()]}

    def healthy():
        targets = prometheus("/api/v1/targets", state="active")["activeTargets"]
        return {target["labels"]["pod"] for target in targets if target["health"] == "up"} == wanted
    try:
        wait_until(healthy, "every pod is scraped", 40, step_s=1)
    except TimeoutError:
        targets = prometheus("/api/v1/targets", state="active")["activeTargets"]
        found = {target["labels"]["pod"]: target["lastError"] or target["health"] for target in targets}
        pytest.fail(f"wanted {sorted(wanted)}, found {json.dumps(found, indent=1)}")


def expressions(release):
    """(dashboard, panel, PromQL) of every target of every dashboard, with its variables filled in."""
    maps = json.loads(release.kubectl("get", "configmaps", "-l=grafana_dashboard=1", "-o=json"))["items"]
    for config_map in maps:
        for name, text in config_map["data"].items():
            yield from expressions_of(name, json.loads(text))


def expressions_of(name, dashboard):
    panels = [*dashboard["panels"]]
    while panels:
        panel = panels.pop()
        panels += panel.get("panels", [])
        for target in panel.get("targets", []):
            expression = target["expr"]
            expression = re.sub(r"\$\{?__(rate_interval|interval|range)\}?", "30s", expression)
            # Grafana's "All" of a variable.
            yield name, panel.get("title", ""), re.sub(r"\$\{?\w+(:\w+)?\}?", ".*", expression)


def test_every_expression_of_every_dashboard_returns_data(prometheus, mesh, release, timing):
    wanted = list(expressions(release))
    assert len(wanted) > 10
    with Load(mesh) as load, timing(f"{len(wanted)} expressions of dashboards have data"):
        load.wait_for_answers(10)
        missing = wanted

        def none_is_missing():
            nonlocal missing
            missing = [one for one in missing if not prometheus("/api/v1/query", query=one[2])["result"]]
            return not missing
        try:
            wait_until(none_is_missing, "data", 60, step_s=2)
        except TimeoutError:
            pytest.fail("without data:\n" + "\n".join(f"{name}: {title}: {text}" for name, title, text in missing))
