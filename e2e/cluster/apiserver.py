#!/usr/bin/env python3
"""etcd and kube-apiserver alone: a real API without nodes, for the operator's tests and bench.

From a shell:   e2e/cluster/apiserver.py up DIR [-- --more-kube-apiserver-flags]   prints the path of a kubeconfig
                e2e/cluster/apiserver.py down DIR
From Python:    with ApiServer(folder) as api: api.kubectl("get", "pods"); api.kubeconfig
"""

import argparse
import os
import pathlib
import shutil
import socket
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from certificates import Certificates
from processes import Process, wait_until

HERE = pathlib.Path(__file__).resolve().parent


def build_programs(what):
    """Builds the programs if need be ("api" or "all"); their folder."""
    output = subprocess.run([HERE / "build.sh", what], check=True, stdout=subprocess.PIPE, text=True).stdout
    return pathlib.Path(output.strip().splitlines()[-1])


def built_programs(*names):
    """The newest folder of build.sh that has all of them; None where they are not built."""
    cache = os.environ.get("SLM_MESH_CLUSTER_CACHE")
    if not cache:
        cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "slm-mesh/cluster-bin"
    folders = [folder for folder in pathlib.Path(cache).glob("*") if all((folder / name).exists() for name in names)]
    return max(folders, key=lambda folder: folder.stat().st_mtime, default=None)


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in sockets]
    for listener in sockets:
        listener.close()
    return ports


class ApiServer:
    """The API of a cluster. Its state lives in a folder: certificates, etcd's data, logs, pid files, the kubeconfig.

    On loopback with free ports, unless a network namespace with an address of its own is given.
    """

    def __init__(self, folder, flags=(), programs=None, network=None, address="127.0.0.1"):
        self.folder = pathlib.Path(folder).resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.kubeconfig = self.folder / "admin.conf"
        self.etcd = Process(self.folder, "etcd")
        self.server = Process(self.folder, "kube-apiserver")
        self._flags = list(flags)
        self._programs = programs
        self._network = network
        self._address = address

    @property
    def programs(self):
        self._programs = self._programs or build_programs("api")
        return self._programs

    def up(self):
        """Starts what does not run and returns when the API answers."""
        ports = self.folder / "ports"
        if not ports.exists():
            ports.write_text(" ".join(map(str, (2379, 2380, 6443) if self._network else free_ports(3))))
        self._etcd_port, self._peer_port, self._port = map(int, ports.read_text().split())
        self.certificates = Certificates(self.folder / "pki")
        self.certificates.make("apiserver", "/CN=kube-apiserver", [
            "DNS:kubernetes", "DNS:kubernetes.default", "DNS:kubernetes.default.svc", "DNS:localhost",
            "IP:127.0.0.1", "IP:10.96.0.1", f"IP:{self._address}"])
        self.certificates.make("admin", "/O=system:masters/CN=admin")
        self.url = f"https://{self._address}:{self._port}"
        self.certificates.kubeconfig("admin", self.url, self.kubeconfig)
        if not self.etcd.running():
            client, peer = (f"http://127.0.0.1:{port}" for port in (self._etcd_port, self._peer_port))
            self.etcd.start([
                self.programs / "etcd", f"--data-dir={self.folder}/etcd", "--unsafe-no-fsync", "--log-level=warn",
                f"--listen-client-urls={client}", f"--advertise-client-urls={client}",
                f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}",
                f"--initial-cluster=default={peer}"], network=self._network)
        self.start_server()
        return self

    def start_server(self):
        """kube-apiserver alone, for tests that stop it and start it again."""
        if not self.server.running():
            pki = self.certificates
            tokens = pki.make_signing_key()
            self.server.start([
                self.programs / "kube-apiserver", f"--etcd-servers=http://127.0.0.1:{self._etcd_port}",
                f"--secure-port={self._port}", f"--bind-address={self._address}",
                f"--tls-cert-file={pki.crt('apiserver')}", f"--tls-private-key-file={pki.key('apiserver')}",
                f"--client-ca-file={pki.authority}", f"--service-account-key-file={tokens}",
                f"--service-account-signing-key-file={tokens}",
                "--service-account-issuer=https://kubernetes.default.svc", "--service-cluster-ip-range=10.96.0.0/16",
                "--authorization-mode=Node,RBAC", "--allow-privileged",
                # Without a controller manager no namespace gets the default service account that pods would need.
                *([] if self._network else ["--disable-admission-plugins=ServiceAccount"]),
                *self._flags], network=self._network)
        try:
            wait_until(self._ready, "kube-apiserver answers", 120)
        except (TimeoutError, RuntimeError) as error:
            raise RuntimeError(f"{error}\n  etcd:\n{self.etcd.last_lines()}\n"
                               f"  kube-apiserver:\n{self.server.last_lines()}") from None

    def _ready(self):
        for process in (self.etcd, self.server):
            if not process.running():
                raise RuntimeError(f"{process.name} ended")
        answer = self.kubectl("get", "--raw=/readyz", "--request-timeout=2s", check=False, stderr=subprocess.DEVNULL)
        return answer == "ok"

    def restart(self):
        # Watches would hold a polite stop up for longer.
        self.server.stop(timeout_s=3)
        self.start_server()

    def down(self):
        self.server.stop(timeout_s=3)
        self.etcd.stop()

    def kubectl(self, *arguments, check=True, stdin=None, **options):
        """Its standard output."""
        command = [str(self.programs / "kubectl"), f"--kubeconfig={self.kubeconfig}", *map(str, arguments)]
        if self._network:
            command = ["nsenter", f"--net=/run/netns/{self._network}", *command]
        return subprocess.run(command, check=check, input=stdin, stdout=subprocess.PIPE, text=True, **options).stdout

    def __enter__(self):
        return self.up()

    def __exit__(self, *_):
        self.down()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["up", "down"])
    parser.add_argument("folder")
    parser.add_argument("--remove", action="store_true", help="down: remove the folder as well")
    parser.add_argument("flags", nargs="*", help="further flags of kube-apiserver, after --")
    options = parser.parse_args()
    server = ApiServer(options.folder, options.flags)
    if options.what == "up":
        server.up()
        print(server.kubeconfig)
    else:
        server.down()
        if options.remove:
            shutil.rmtree(server.folder)


if __name__ == "__main__":
    main()
