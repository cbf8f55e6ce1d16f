"""The network of a cluster: a namespace for the control plane, one for each node, a bridge between; no way out."""

import contextlib
import json
import subprocess


def ip(*arguments, check=True):
    return subprocess.run(["ip", *map(str, arguments)], check=check, stdout=subprocess.PIPE,
                          stderr=None if check else subprocess.DEVNULL, text=True).stdout


class Network:
    """Control plane 10.77.0.1, node i 10.77.0.(10 + i) with its pods in 10.88.i.0/24. All in namespaces of our own, so
    that clusters beside each other do not meet."""

    CONTROL_PLANE_ADDRESS = "10.77.0.1"
    POD_RANGE = "10.88.0.0/16"
    SERVICE_RANGE = "10.96.0.0/16"

    def __init__(self, name, node_count):
        self.control_plane = f"{name}-cp"
        self.nodes = [f"{name}-n{i}" for i in range(1, node_count + 1)]

    def node_address(self, index):
        return f"10.77.0.{10 + index}"

    def pod_subnet(self, index):
        return f"10.88.{index}.0/24"

    def _existing(self):
        return {entry["name"] for entry in json.loads(ip("-j", "netns", "list") or "[]")}

    def up(self):
        existing = self._existing()
        if self.control_plane in existing:
            return
        for namespace in (self.control_plane, *self.nodes):
            ip("netns", "add", namespace)
            ip("-n", namespace, "link", "set", "lo", "up")
            self.run(namespace, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        center = self.control_plane
        ip("-n", center, "link", "add", "br0", "type", "bridge")
        ip("-n", center, "link", "set", "br0", "up")
        ip("-n", center, "address", "add", f"{self.CONTROL_PLANE_ADDRESS}/24", "dev", "br0")
        for index, namespace in enumerate(self.nodes):
            ip("-n", center, "link", "add", f"node{index}", "type", "veth", "peer", "name", "eth0", "netns", namespace)
            ip("-n", center, "link", "set", f"node{index}", "master", "br0", "up")
            ip("-n", namespace, "address", "add", f"{self.node_address(index)}/24", "dev", "eth0")
            ip("-n", namespace, "link", "set", "eth0", "up")
            ip("-n", namespace, "route", "add", "default", "via", self.CONTROL_PLANE_ADDRESS)
            ip("-n", center, "route", "add", self.pod_subnet(index), "via", self.node_address(index))
        # The tests sit in the control plane's namespace and reach Services through the first node's kube-proxy.
        ip("-n", center, "route", "add", self.SERVICE_RANGE, "via", self.node_address(0))
        for index, namespace in enumerate(self.nodes):
            for other in range(len(self.nodes)):
                if other != index:
                    ip("-n", namespace, "route", "add", self.pod_subnet(other), "via", self.node_address(other))

    def down(self):
        existing = self._existing()
        for namespace in (self.control_plane, *self.nodes):
            if namespace in existing:
                ip("netns", "delete", namespace)

    def run(self, namespace, *command, check=True, **options):
        # Not `ip netns exec`: that remounts /sys and hides the cgroups.
        return subprocess.run(["nsenter", f"--net=/run/netns/{namespace}", *map(str, command)], check=check, **options)

    def cut_off_api_server(self):
        """Nodes and pods cannot reach the API server, nor it them, until join_api_server(); connections hang, as in life."""
        rules = f"""table inet cut {{
  chain input {{
    type filter hook input priority 0
    ip saddr {{ 10.77.0.10-10.77.0.99, {self.POD_RANGE} }} tcp dport 6443 drop
  }}
  chain output {{
    type filter hook output priority 0
    ip daddr {{ 10.77.0.10-10.77.0.99, {self.POD_RANGE} }} tcp sport 6443 drop
  }}
}}
"""
        self.run(self.control_plane, "nft", "-f", "-", input=rules, text=True)

    def join_api_server(self):
        self.run(self.control_plane, "nft", "delete", "table", "inet", "cut")

    @contextlib.contextmanager
    def resetting_api_server(self, addresses):
        """Connections from these addresses to the API server are reset, and new ones refused."""
        rules = f"""table inet resetting {{
  chain input {{
    type filter hook input priority 0
    ip saddr {{ {", ".join(addresses)} }} tcp dport 6443 reject with tcp reset
  }}
}}
"""
        self.run(self.control_plane, "nft", "-f", "-", input=rules, text=True)
        try:
            yield
        finally:
            self.run(self.control_plane, "nft", "delete", "table", "inet", "resetting")
