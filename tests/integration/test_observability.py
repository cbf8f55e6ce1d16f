"""Metrics and logs of a request, from router to rank 0."""

import urllib.request

from mesh import NAME, metric_sum, wait_for


def test_metrics_of_router_and_workers(mesh):
    mesh.ask("hello", max_tokens=4, temperature=0)
    router = mesh.metrics("router-0")
    for name in ("vllm:time_to_first_token_seconds_count", "vllm:e2e_request_latency_seconds_count"):
        assert metric_sum(router, name) > 0, name
    worker = mesh.metrics("cpu-0")
    assert metric_sum(worker, "vllm:generation_tokens_total") > 0
    assert metric_sum(worker, "slmmesh_worker_all_reduce_seconds_count") > 0
    assert "slmmesh_head_members" in mesh.admin_get("head", "/metrics")


def test_a_request_id_goes_from_router_to_rank_0(mesh):
    request = urllib.request.Request(
        mesh.url + "/v1/completions", f'{{"model":"{NAME}","prompt":"a secret word","max_tokens":2}}'.encode(),
        {"content-type": "application/json", "x-request-id": "trace-me-42"})
    response = urllib.request.urlopen(request, timeout=60)
    assert response.headers["x-request-id"] == "trace-me-42"
    for process in ("router-0", "cpu-0"):
        wait_for(lambda: "trace-me-42" in mesh.log(process), f"the request id in {process}'s log", timeout=10)
    for process in ("router-0", "cpu-0", "cpu-1", "head"):
        assert "secret word" not in mesh.log(process)
