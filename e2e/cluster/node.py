"""One node: containerd, kubelet and kube-proxy in a network namespace and a cgroup of its own."""

import json
import pathlib
import shutil
import subprocess

from cgroups import Cgroup
from processes import Process, wait_until

PAUSE_IMAGE = "localhost/pause:1"


class Node:
    """Everything of it lives in `folder` and in cgroup `cgroup_name`; nothing else of the machine is touched."""

    def __init__(self, folder, cgroup_name, index, network, programs):
        self.name = f"n{index + 1}"
        self.folder = pathlib.Path(folder) / self.name
        self.address = network.node_address(index)
        self.namespace = network.nodes[index]
        self._subnet = network.pod_subnet(index)
        self._network = network
        self._programs = programs
        self._cgroup = Cgroup(cgroup_name)
        self._system = Cgroup(f"{cgroup_name}/system")
        self._socket = self.folder / "c.sock"
        self.containerd = Process(folder, f"{self.name}-containerd")
        self.kubelet = Process(folder, f"{self.name}-kubelet")
        self.proxy = Process(folder, f"{self.name}-kube-proxy")

    def configure(self, api):
        """Certificates and configuration files; api: the ApiServer that the node joins."""
        for folder in ("cni", "kubelet"):
            (self.folder / folder).mkdir(parents=True, exist_ok=True)
        pki = api.certificates
        pki.make(self.name, f"/O=system:nodes/CN=system:node:{self.name}",
                 [f"DNS:{self.name}", f"IP:{self.address}"])
        pki.kubeconfig(self.name, api.url, self.folder / "kubelet.conf")
        pki.kubeconfig("kube-proxy", api.url, self.folder / "kube-proxy.conf")
        (self.folder / "containerd.toml").write_text(f"""version = 2
root = "{self.folder}/root"
state = "{self.folder}/state"
[grpc]
  address = "{self._socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{self.folder}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true
  sandbox_image = "{PAUSE_IMAGE}"
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{self.folder}/cni"
""")
        (self.folder / "cni/10-bridge.conflist").write_text(json.dumps({
            "cniVersion": "0.4.0", "name": "pods", "plugins": [
                {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": False, "hairpinMode": True,
                 "ipam": {"type": "host-local", "dataDir": f"{self.folder}/ipam",
                          "ranges": [[{"subnet": self._subnet}]], "routes": [{"dst": "0.0.0.0/0"}]}},
                {"type": "portmap", "capabilities": {"portMappings": True}}]}))
        (self.folder / "kubelet.yaml").write_text(json.dumps({
            "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
            "cgroupDriver": "cgroupfs", "cgroupRoot": f"/{self._cgroup.path}", "failCgroupV1": False,
            "failSwapOn": False, "enforceNodeAllocatable": [],
            "containerRuntimeEndpoint": f"unix://{self._socket}",
            "authentication": {"x509": {"clientCAFile": str(pki.authority)}, "anonymous": {"enabled": False},
                               "webhook": {"enabled": True}},
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": str(pki.crt(self.name)), "tlsPrivateKeyFile": str(pki.key(self.name)),
            "clusterDNS": [self._network.CONTROL_PLANE_ADDRESS], "clusterDomain": "cluster.local",
            "resolvConf": str(self.folder / "resolv.conf"),
            "evictionHard": {"imagefs.available": "0%", "nodefs.available": "0%", "memory.available": "100Mi"},
            "imageMinimumGCAge": "24h", "nodeStatusUpdateFrequency": "2s", "nodeLeaseDurationSeconds": 10,
            "podLogsDir": str(self.folder / "pod-logs"), "serializeImagePulls": False,
        }))
        (self.folder / "resolv.conf").write_text("")  # the machine's own must not leak into pods
        (self.folder / "kube-proxy.yaml").write_text(json.dumps({
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration", "mode": "nftables",
            "clientConnection": {"kubeconfig": str(self.folder / "kube-proxy.conf")},
            "clusterCIDR": self._network.POD_RANGE, "conntrack": {"maxPerCore": 0, "min": 0},
            "hostnameOverride": self.name, "nftables": {"syncPeriod": "30s", "minSyncPeriod": "100ms"}}))

    def start_runtime(self):
        self._cgroup.make()
        self._system.make()
        self._cgroup.delegate_to_children()
        if not self.containerd.running():
            self.containerd.start(["containerd", "-c", self.folder / "containerd.toml"],
                                  network=self.namespace, cgroup=self._system)
        wait_until(lambda: self._ctr("version", check=False) == 0, f"containerd of {self.name} answers")

    def start(self):
        """After start_runtime() and the import of the pause image."""
        if not self.kubelet.running():
            self.kubelet.start([
                self._programs / "kubelet", f"--config={self.folder}/kubelet.yaml",
                f"--kubeconfig={self.folder}/kubelet.conf", f"--hostname-override={self.name}",
                f"--node-ip={self.address}", f"--root-dir={self.folder}/kubelet",
                f"--cert-dir={self.folder}/kubelet/pki"], network=self.namespace, cgroup=self._system)
        if not self.proxy.running():
            self.proxy.start([self._programs / "kube-proxy", f"--config={self.folder}/kube-proxy.yaml"],
                             network=self.namespace, cgroup=self._system)

    def _ctr(self, *arguments, check=True):
        return subprocess.run(["ctr", "-a", self._socket, "-n", "k8s.io", *map(str, arguments)], check=check,
                              stdout=subprocess.DEVNULL, stderr=None if check else subprocess.DEVNULL).returncode

    def import_image(self, archive):
        self._ctr("images", "import", archive)

    def tag_image(self, name, new_name):
        self._ctr("images", "tag", "--force", name, new_name)

    def pids_of(self, pod_uid):
        """The processes of a pod, by the name of their cgroup."""
        def is_of_pod(pid):
            try:
                return pod_uid in pathlib.Path(f"/proc/{pid}/cgroup").read_text()
            except OSError:
                return False  # gone meanwhile
        return [pid for pid in self._cgroup.pids() if is_of_pod(pid)]

    def die(self):
        """As when its power fails: every process, containers included, at once. start_runtime() and start() revive."""
        self._cgroup.kill()

    def stop(self):
        self.kubelet.stop()
        self.proxy.stop()
        self._cgroup.kill()
        self._unmount()
        self._cgroup.remove()

    def _unmount(self):
        """What containerd and kubelet mounted below our folder."""
        prefix = str(self.folder.resolve()) + "/"
        mounts = [line.split()[4] for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines()]
        for mount in sorted((mount for mount in mounts if mount.startswith(prefix)), key=len, reverse=True):
            subprocess.run(["umount", mount], check=False, stderr=subprocess.DEVNULL)

    def remove(self):
        """The folder; after stop()."""
        prefix = str(self.folder.resolve()) + "/"
        if prefix in pathlib.Path("/proc/self/mountinfo").read_text():
            raise RuntimeError(f"{self.folder} has mounts still: it is not removed")
        shutil.rmtree(self.folder, ignore_errors=True)
