#!/usr/bin/env python3
"""A whole Kubernetes on one machine: control plane and two nodes in network namespaces, without a way out.

e2e/cluster/nodes.py up DIR      prints the path of a kubeconfig and how to use it; again: starts what does not run
e2e/cluster/nodes.py down DIR    stops everything and removes the folder
"""

import argparse
import hashlib
import pathlib
import shutil
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent.parent / "deploy/images")]
from apiserver import ApiServer, build_programs
from image import ImageConfig, RootFilesystem, write_image
from network import Network
from node import PAUSE_IMAGE, Node
from processes import Process, wait_until

PACKAGES = ["containerd", "runc", "containernetworking-plugins", "conntrack", "nftables", "iproute2", "procps"]


def pause_image(folder):
    program, archive = folder / "pause", folder / "pause.tar"
    if not archive.exists():
        subprocess.run(["gcc", "-Os", "-static", "-s", "-o", program, HERE / "pause.c"], check=True)
        root = RootFilesystem()
        root.file("/pause", program.read_bytes(), 0o755)
        write_image(ImageConfig(name=PAUSE_IMAGE, entrypoint=("/pause",)), root, archive)
    return archive


class Cluster:
    """The control plane runs beside the tests, in the namespace `network.control_plane`; CoreDNS too, so that it
    survives what the tests do to nodes. Nodes are `nodes`."""

    # A node that falls silent is given up soon: tests wait for it. But not before the other one is missed, too, where both
    # fall silent: their heartbeats are up to 10 s apart, and where no node is left nothing is evicted.
    _API_FLAGS = ["--default-not-ready-toleration-seconds=18", "--default-unreachable-toleration-seconds=18",
                  "--kubelet-preferred-address-types=InternalIP"]
    _CONTROLLER_FLAGS = ["--node-monitor-grace-period=16s", "--node-monitor-period=2s"]

    def __init__(self, folder):
        self.folder = pathlib.Path(folder).resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        # Two clusters beside each other have different folders, hence different names.
        self.name = "slm-" + hashlib.sha256(str(self.folder).encode()).hexdigest()[:6]
        self.programs = build_programs("all")
        self.network = Network(self.name, 2)
        pki = self.folder / "pki"
        self.api = ApiServer(self.folder, programs=self.programs, network=self.network.control_plane,
                             address=self.network.CONTROL_PLANE_ADDRESS, flags=[
                                 *self._API_FLAGS, f"--kubelet-certificate-authority={pki}/ca.crt",
                                 f"--kubelet-client-certificate={pki}/admin.crt",
                                 f"--kubelet-client-key={pki}/admin.key"])
        self.kubeconfig = self.api.kubeconfig
        self.kubectl = self.api.kubectl
        self.nodes = [Node(self.folder, f"{self.name}-n{i + 1}", i, self.network, self.programs) for i in range(2)]
        self.controllers = Process(self.folder, "kube-controller-manager")
        self.scheduler = Process(self.folder, "kube-scheduler")
        self.dns = Process(self.folder, "coredns")

    def up(self):
        """Starts what does not run; returns when both nodes are Ready."""
        self.network.up()
        try:
            self.api.up()
            for node in self.nodes:
                self._make_identities()
                node.configure(self.api)
                node.start_runtime()
                node.import_image(pause_image(self.folder))
                node.start()
            self._start_control_plane()
            self.wait_for_nodes()
        except Exception:
            print(self.diagnosis(), file=sys.stderr)
            raise
        return self

    def _make_identities(self):
        pki = self.api.certificates
        for name in ("kube-controller-manager", "kube-scheduler", "kube-proxy"):
            pki.make(name, f"/CN=system:{name}")
            pki.kubeconfig(name, self.api.url, self.folder / f"{name}.conf")

    def _start_control_plane(self):
        pki = self.api.certificates
        if not self.controllers.running():
            self._start(self.controllers, "--use-service-account-credentials", "--leader-elect=false",
                        f"--kubeconfig={self.folder}/kube-controller-manager.conf",
                        f"--service-account-private-key-file={pki.make_signing_key()}",
                        f"--root-ca-file={pki.authority}", *self._CONTROLLER_FLAGS)
        if not self.scheduler.running():
            self._start(self.scheduler, f"--kubeconfig={self.folder}/kube-scheduler.conf", "--leader-elect=false")
        if not self.dns.running():
            corefile = self.folder / "Corefile"
            corefile.write_text(f".:53 {{\n  bind {self.network.CONTROL_PLANE_ADDRESS}\n  errors\n"
                                f"  kubernetes cluster.local {{\n    kubeconfig {self.kubeconfig}\n    ttl 1\n"
                                "  }\n}\n")
            self._start(self.dns, f"-conf={corefile}")

    def _start(self, process, *flags):
        process.start([self.programs / process.name, *flags], network=self.network.control_plane)

    def wait_for_nodes(self, timeout_s=90):
        def ready():
            for process in self._processes():
                if not process.running():
                    raise RuntimeError(f"{process.name} ended")
            return self.ready_nodes() == [node.name for node in self.nodes]
        wait_until(ready, "both nodes are Ready", timeout_s, step_s=0.5)

    def ready_nodes(self):
        jsonpath = '{range .items[*]}{.metadata.name} {.status.conditions[?(@.type=="Ready")].status}{"\\n"}{end}'
        lines = (self.kubectl("get", "nodes", f"-o=jsonpath={jsonpath}", check=False) or "").splitlines()
        return [line.split()[0] for line in lines if line.endswith(" True")]

    def import_image(self, archive):
        for node in self.nodes:
            node.import_image(archive)

    def helm(self, *arguments, check=True, **options):
        return self.network.run(self.network.control_plane, self.programs / "helm",
                                f"--kubeconfig={self.kubeconfig}", *arguments, check=check, **options).stdout

    def _processes(self):
        yield from (self.api.etcd, self.api.server, self.controllers, self.scheduler, self.dns)
        for node in self.nodes:
            yield from (node.containerd, node.kubelet, node.proxy)

    def diagnosis(self):
        """What does not run, and the last words of everything that might tell why."""
        parts = []
        for process in self._processes():
            state = "runs" if process.running() else "DOES NOT RUN"
            parts.append(f"  {process.name} {state}; the end of {process.log}:\n{process.last_lines()}")
        return "\n".join(parts)

    def down(self):
        for process in (self.controllers, self.scheduler):
            process.stop()
        for node in self.nodes:
            node.stop()
        self.dns.stop()
        self.api.down()
        self.network.down()

    def remove(self):
        """After down()."""
        for node in self.nodes:
            node.remove()
        shutil.rmtree(self.folder, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["up", "down"])
    parser.add_argument("folder")
    parser.add_argument("--keep", action="store_true", help="down: keep the folder, for its logs")
    options = parser.parse_args()
    cluster = Cluster(options.folder)
    if options.what == "up":
        begin = time.monotonic()
        subprocess.run([HERE.parent.parent / "tools/install_deps.sh", *PACKAGES], check=True)
        cluster.up()
        print(f"two nodes are Ready after {time.monotonic() - begin:.1f} s; for a shell beside them:\n"
              f"  export KUBECONFIG={cluster.kubeconfig} PATH={cluster.programs}:$PATH\n"
              f"  nsenter --net=/run/netns/{cluster.network.control_plane} bash")
    else:
        cluster.down()
        if not options.keep:
            cluster.remove()


if __name__ == "__main__":
    main()
