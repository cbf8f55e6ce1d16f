"""Every PromQL expression of the dashboards names metrics that the programs have."""

import json
import re

import pytest

from sources import ROOT

SOURCES = ["worker/server/worker_metrics.cc", "router/metrics.cc", "head/head_metrics.cc", "operator/operator_metrics.cc"]
DASHBOARDS = sorted((ROOT / "deploy/dashboards").glob("*.json"))
# Labels that come from the pods' annotations and labels (helm/slm-mesh/files/scrape_configs.yaml), not from a program.
TARGET_LABELS = {"namespace", "pod", "slmmesh_io_cluster", "slmmesh_io_role", "slmmesh_io_worker_group"}


def known_metrics():
    text = "\n".join((ROOT / source).read_text() for source in SOURCES)
    metrics = set()
    for kind, name in re.findall(r'(Counter|Gauge|Histogram)\(\s*"([\w:]+)"', text):
        metrics |= {f"{name}_{part}" for part in ("bucket", "sum", "count")} if kind == "Histogram" else {name}
    metrics |= set(re.findall(r'set\("([\w:]+)"', text))
    labels = set(re.findall(r'\{"(\w+)", ', text))
    return metrics, labels


def expressions(file):
    dashboard = json.loads(file.read_text())
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


def metric_names(expression):
    return set(re.findall(r"\b((?:slmmesh_(?!io_)|vllm:)[\w:]+)", expression))


def test_there_are_dashboards():
    assert [file.stem for file in DASHBOARDS] == ["cluster", "operator", "router", "worker"]


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.stem)
def test_expressions_name_metrics_that_exist(file):
    metrics, labels = known_metrics()
    wrong = []
    for title, expression in expressions(file):
        used = metric_names(expression)
        if not used:
            wrong.append(f"{title}: no metric in {expression}")
        wrong += [f"{title}: {name} is nobody's" for name in used - metrics]
        matchers = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", expression))
        grouped = {name.strip() for by in re.findall(r"by \(([^)]*)\)", expression) for name in by.split(",")}
        wrong += [f"{title}: label {name} is nobody's" for name in (matchers | grouped) - labels - TARGET_LABELS - {"le"}]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.stem)
def test_panels_do_not_overlap_and_say_what_they_show(file):
    taken, ids = set(), set()
    for panel in json.loads(file.read_text())["panels"]:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken and place["x"] + place["w"] <= 24, panel["title"]
        assert panel["description"] and panel["id"] not in ids, panel["title"]
        taken |= cells
        ids.add(panel["id"])
