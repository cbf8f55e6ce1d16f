#!/usr/bin/env python3
"""make bench-operator: mesh-operator under load against a real etcd and kube-apiserver, without kubelets.

Without kubelets no pod ever runs, so "complete" means here: all four pods of a cluster exist (head, router and the two
workers of one serving group). Times are what a watching client sees, from just before its own request. Prints a table and
writes build/bench-operator.json. Machines are shared and noisy: API server, etcd, operator and this client share them.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/integration"), str(ROOT / "tests/bench")]
from kube_api import CLUSTERS, PODS, ApiServer, Operator, make_cluster, prepare, wait_until  # noqa: E402
from run import commit, machine  # noqa: E402

NAMESPACE = "bench"
PODS_OF_A_CLUSTER = 4
OBJECTS_OF_A_CLUSTER = 8  # itself, a Secret, two Services and the pods
CLIENTS = 8
OPERATOR_THREADS = 16
WAIT_S = 180


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def spread(seconds):
    """p50 and p99 in milliseconds."""
    return {"p50_ms": round(percentile(seconds, 0.5) * 1000, 1), "p99_ms": round(percentile(seconds, 0.99) * 1000, 1)}


class PodWatch:
    """When each pod was first seen. One thread reads the API server's watch (metadata alone)."""

    def __init__(self, api):
        self.added = {}  # uid → (cluster, slot's labels, time)
        self._connection, self._response = api.watch(PODS.format(NAMESPACE))
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        for line in self._response:
            now = time.monotonic()
            event = json.loads(line)
            if event["type"] == "ADDED":
                meta = event["object"]["metadata"]
                labels = meta["labels"]
                place = "/".join(labels.get(f"slmmesh.io/{n}", "") for n in ("cluster", "role", "worker-group", "slot"))
                self.added[meta["uid"]] = (labels["slmmesh.io/cluster"], place, now)

    def since(self, start):
        return [(cluster, place, at) for cluster, place, at in list(self.added.values()) if at >= start]


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def busy_seconds():
    """CPU seconds of all processes of this machine."""
    fields = list(map(int, pathlib.Path("/proc/stat").read_text().split()[1:9]))
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")  # neither idle nor waiting for disks


def wait_until_quiet(server):
    """A new API server is busy with itself for some seconds."""
    for _ in range(60):
        before = cpu_seconds(server.server.pid())
        threading.Event().wait(1)
        if cpu_seconds(server.server.pid()) - before < 0.15:
            return


class Cpu:
    """CPU seconds of all that take part, and of the rest of the machine, from here on."""

    def __init__(self, server, **pids):
        self._pids = {**pids, "api_server": server.server.pid(), "etcd": server.etcd.pid(), "this_client": os.getpid()}
        self._busy_start = busy_seconds()
        self._start = {name: cpu_seconds(pid) for name, pid in self._pids.items()}

    def seconds(self):
        used = {name: round(cpu_seconds(pid) - self._start[name], 2) for name, pid in self._pids.items()}
        used["others"] = round(max(0.0, busy_seconds() - self._busy_start - sum(used.values())), 2)
        return used


class Usage:
    """What the operator uses, calls and does from here on."""

    def __init__(self, server, operator):
        self.operator = operator
        self.metrics_start = operator.metrics()
        self.start = time.monotonic()
        self.cpu = Cpu(server, operator=operator.process.pid())

    def cpu_s(self):
        return self.cpu.seconds()

    def rss_kb(self):
        status = pathlib.Path(f"/proc/{self.operator.process.pid()}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1])

    def delta(self):
        now = self.operator.metrics()
        return {name: value - self.metrics_start.get(name, 0) for name, value in now.items()}

    @staticmethod
    def calls(delta):
        return sum(value for name, value in delta.items() if name.startswith("slmmesh_operator_api_calls_total")
                   and "leases" not in name and 'verb="watch"' not in name and 'verb="list"' not in name)

    @staticmethod
    def reconcile(delta):
        """p50 and p99 of a pass, as upper bounds of the histogram's buckets."""
        buckets = sorted((float(re.search(r'le="([^"]+)"', name)[1]), value) for name, value in delta.items()
                         if name.startswith("slmmesh_operator_reconcile_seconds_bucket"))
        total = buckets[-1][1]
        bound = lambda share: next((le for le, count in buckets if count >= share * total), 0.0)
        return {"passes": int(total), "p50_ms_at_most": bound(0.5) * 1000, "p99_ms_at_most": bound(0.99) * 1000}


class Bench:
    def __init__(self, api_server, operator, api):
        self.server, self.operator, self.api = api_server, operator, api
        self.watch = PodWatch(api)
        self.pool = concurrent.futures.ThreadPoolExecutor(CLIENTS)
        self.names = []
        self.base_rss_kb = Usage(api_server, operator).rss_kb()

    def _timed(self, call, items):
        """Runs call(item) for all at once; item → the time just before its request."""
        def run(item):
            start = time.monotonic()
            call(item)
            return item, start
        return dict(self.pool.map(run, items))

    def create(self, count):
        first = len(self.names)
        names = [f"c{first + i:04}" for i in range(count)]
        usage = Usage(self.server, self.operator)
        start = time.monotonic()
        asked = self._timed(lambda name: make_cluster(self.api, NAMESPACE, name, size=2), names)
        wait_until(lambda: len(self.watch.since(start)) >= count * PODS_OF_A_CLUSTER, f"pods of {count} clusters", WAIT_S)
        last = {}
        for cluster, _, at in self.watch.since(start):
            last[cluster] = max(last.get(cluster, 0), at)
        took = max(last.values()) - start
        self.settle()
        delta = usage.delta()
        self.names += names
        pods = len(self.names) * PODS_OF_A_CLUSTER
        return {"clusters": count, "seconds": round(took, 2), "clusters_per_s": round(count / took, 1),
                "asked_in_s": round(max(asked.values()) - start, 2),
                "complete": spread([last[n] - asked[n] for n in names]), "reconcile": Usage.reconcile(delta),
                "api_calls_per_cluster": round(Usage.calls(delta) / count, 2), "cpu_s": usage.cpu_s(),
                "rss_mb": round(usage.rss_kb() / 1024, 1),
                "rss_kb_per_pod": round((usage.rss_kb() - self.base_rss_kb) / pods, 2)}

    def settle(self):
        """Until no pass was made for a second."""
        count = lambda: self.operator.metrics()["slmmesh_operator_reconcile_seconds_count"]
        last, quiet = count(), time.monotonic()
        while time.monotonic() < quiet + 1:
            threading.Event().wait(0.2)
            if count() != last:
                last, quiet = count(), time.monotonic()

    def patch(self, rounds, at_once, pause_s):
        """Scales `at_once` other clusters from one serving group to two, every `pause_s`."""
        to_first, to_both, asked_in, all_in = [], [], [], []
        usage = Usage(self.server, self.operator)
        for i in range(min(rounds, len(self.names) // at_once)):
            names = self.names[i * at_once:(i + 1) * at_once]
            start = time.monotonic()
            asked = self._timed(lambda n: self.api.merge(f"{CLUSTERS.format(NAMESPACE)}/{n}", {"spec": {"groups": 2}}), names)
            wait_until(lambda: len(self.watch.since(start)) >= 2 * at_once, f"{2 * at_once} more pods", WAIT_S)
            seen = {}
            for cluster, _, at in self.watch.since(start):
                seen.setdefault(cluster, []).append(at)
            to_first += [min(seen[n]) - asked[n] for n in names]
            to_both += [max(seen[n]) - asked[n] for n in names]
            asked_in.append(max(asked.values()) - start)
            all_in.append(max(map(max, seen.values())) - start)
            threading.Event().wait(max(0.0, pause_s - (time.monotonic() - start)))
        delta = usage.delta()
        return {"clusters": len(to_both), "asked_in_s": round(max(asked_in), 2), "all_in_s": round(max(all_in), 2),
                "to_first_pod": spread(to_first), "to_both_pods": spread(to_both), "reconcile": Usage.reconcile(delta),
                "api_calls_per_cluster": round(Usage.calls(delta) / len(to_both), 2), "cpu_s": usage.cpu_s()}

    def delete(self, count):
        pods = self.api.get(f"{PODS.format(NAMESPACE)}?labelSelector=slmmesh.io/role=worker,slmmesh.io/slot=0")["items"]
        chosen = {p["metadata"]["name"]: p["metadata"]["labels"]["slmmesh.io/cluster"] for p in pods[:count]}
        usage = Usage(self.server, self.operator)
        start = time.monotonic()
        asked = self._timed(lambda n: self.api.delete(f"{PODS.format(NAMESPACE)}/{n}", gracePeriodSeconds=0), chosen)
        wait_until(lambda: len(self.watch.since(start)) >= count, f"{count} replacements", WAIT_S)
        seen = {cluster: at for cluster, _, at in self.watch.since(start)}
        delta = usage.delta()
        return {"pods": count, "to_replacement": spread([seen[chosen[n]] - asked[n] for n in chosen]),
                "reconcile": Usage.reconcile(delta), "api_calls_per_pod": round(Usage.calls(delta) / count, 2),
                "cpu_s": usage.cpu_s()}

    def restart(self):
        start = time.monotonic()
        self.operator.stop()
        stopped = time.monotonic()
        name = self.names[-1]
        self.api.merge(f"{CLUSTERS.format(NAMESPACE)}/{name}", {"spec": {"groups": 3}})
        started = time.monotonic()
        self.operator.start()
        wait_until(lambda: len(self.watch.since(started)) >= 2, "the pods asked for meanwhile", WAIT_S, step_s=0.02)
        works = max(at for _, _, at in self.watch.since(started)) - started
        self.operator.wait_until_leading()
        self.settle()
        metrics = self.operator.metrics()
        usage = Usage(self.server, self.operator)
        return {"clusters": len(self.names), "stop_s": round(stopped - start, 2), "works_after_s": round(works, 2),
                "api_calls": Usage.calls(metrics), "rss_mb": round(usage.rss_kb() / 1024, 1)}

    def idle(self, minutes):
        self.settle()
        usage = Usage(self.server, self.operator)
        threading.Event().wait(minutes * 60)
        cpu = usage.cpu_s()["operator"]
        elapsed = time.monotonic() - usage.start
        delta = usage.delta()
        return {"minutes": round(elapsed / 60, 1), "cpu_percent": round(100 * cpu / elapsed, 3),
                "api_calls": Usage.calls(delta),
                "passes": int(delta["slmmesh_operator_reconcile_seconds_count"])}

    def bare(self, count):
        """The same objects as the operator makes, by a client that does nothing else: what the API server lets through."""
        self.api.create("/api/v1/namespaces", {"metadata": {"name": "bare"}})
        names = self.names[:count]
        kinds = [CLUSTERS, "/api/v1/namespaces/{}/secrets", "/api/v1/namespaces/{}/services", PODS]
        found = [(path, item) for path in kinds for item in self.api.get(path.format(NAMESPACE))["items"]]
        objects = {name: [] for name in names}
        for path, item in found:
            meta = item["metadata"]
            name = meta.get("labels", {}).get("slmmesh.io/cluster", meta["name"])
            if name in objects and len(objects[name]) < OBJECTS_OF_A_CLUSTER:
                objects[name].append((path.format("bare"), self._as_new(item)))
        start = time.monotonic()
        cpu = Cpu(self.server)
        with concurrent.futures.ThreadPoolExecutor(OPERATOR_THREADS) as pool:
            list(pool.map(self._make_bare, names, objects.values()))
            took = time.monotonic() - start
            cpu_s = cpu.seconds()
            some = names[:min(50, count)]
            start = time.monotonic()
            list(pool.map(self._scale_bare, some, objects.values()))
        return {"clusters": count, "clusters_per_s": round(count / took, 1), "cpu_s": cpu_s,
                f"scale_{len(some)}_s": round(time.monotonic() - start, 2)}

    @staticmethod
    def _as_new(item):
        kept = {field: item["metadata"][field] for field in ("name", "labels", "annotations", "ownerReferences")
                if field in item["metadata"]}
        spec = {field: value for field, value in item.get("spec", {}).items() if field not in ("clusterIP", "clusterIPs")}
        return {**item, "metadata": kept, **({"spec": spec} if spec else {})}

    def _make_bare(self, name, objects):
        for path, item in objects:
            self.api.create(path, item)
        path, cluster = objects[0]
        self.api.merge(f"{path}/{name}/status", {"status": cluster["status"]})

    def _scale_bare(self, name, objects):
        """What has to be done until two pods more are there: the spec, their certificates, they themselves."""
        (clusters, _), (secrets, secret), *_, (pods, pod) = objects
        self.api.merge(f"{clusters}/{name}", {"spec": {"groups": 2}})
        self.api.merge(f"{secrets}/{secret['metadata']['name']}", {"data": {
            f"more-{key}": value for key, value in list(secret["data"].items())[-4:]}})
        for i in range(2):
            self.api.create(pods, {**pod, "metadata": {**pod["metadata"], "name": f"{name}-more-{i}"}})


def flat(value, prefix=""):
    for name, item in value.items():
        if isinstance(item, dict):
            yield from flat(item, f"{prefix}{name}.")
        else:
            yield prefix + name, item


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    parser.add_argument("--clusters", type=int, nargs="+", default=[100, 500], help="created at once, one after the other")
    parser.add_argument("--rounds", type=int, default=3, help="of 50 patches at once")
    parser.add_argument("--pause-seconds", type=float, default=10, help="between those rounds")
    parser.add_argument("--idle-minutes", type=float, default=5)
    parser.add_argument("--threads", type=int, default=OPERATOR_THREADS, help="of the operator")
    options = parser.parse_args()
    report = {"machine": machine(), "commit": commit(), "results": {}}

    def show(title, result):
        report["results"][title] = result
        print(f"| {title} | " + ", ".join(f"{name} {value}" for name, value in flat(result)) + " |", flush=True)

    with tempfile.TemporaryDirectory(prefix="bench-operator-") as folder, ApiServer(pathlib.Path(folder) / "api") as server:
        api = prepare(server)
        api.create("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        operator = Operator(folder, server, options.build.resolve(), flags=[f"--threads={options.threads}"])
        operator.start().wait_until_leading()
        wait_until_quiet(server)
        try:
            bench = Bench(server, operator, api)
            at_once = min(50, sum(options.clusters))
            steps = [(f"create {n} at once", lambda n=n: bench.create(n)) for n in options.clusters]
            steps += [(f"scale {at_once} at once", lambda: bench.patch(options.rounds, at_once, options.pause_seconds)),
                      (f"delete {at_once} pods", lambda: bench.delete(at_once)), ("restart", bench.restart),
                      ("idle", lambda: bench.idle(options.idle_minutes))]
            for title, step in steps:
                show(title, step())
            operator.stop()
            show("bare client", bench.bare(min(100, len(bench.names))))
        finally:
            operator.stop()
    path = options.build / "bench-operator.json"
    path.write_text(json.dumps(report, indent=1) + "\n")
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
