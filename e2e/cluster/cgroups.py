"""A node's cgroup, of version 1 or 2: everything that the node runs lives in it, so that it can be found again."""

import os
import pathlib
import signal

from processes import wait_until

_ROOT = pathlib.Path("/sys/fs/cgroup")


def _hierarchies():
    """The mount points: one in version 2; in version 1 one a controller, and often a bare version 2 beside them."""
    if (_ROOT / "cgroup.controllers").exists():
        return [_ROOT]
    mounts = (line.split() for line in pathlib.Path("/proc/self/mounts").read_text().splitlines())
    return [pathlib.Path(fields[1]) for fields in mounts if fields[2] in ("cgroup", "cgroup2")]


class Cgroup:
    """By its path below the root, e.g. "slm-mesh-n1"; children appear as slm-mesh-n1/system."""

    def __init__(self, path):
        self.path = path
        self._folders = [hierarchy / path for hierarchy in _hierarchies()]

    def make(self):
        for folder in self._folders:
            folder.mkdir(parents=True, exist_ok=True)
            if (_ROOT / "cgroup.controllers").exists():
                self._delegate(folder)
            # Version 1: a new cpuset is empty, and nothing may enter it before it is filled.
            for name in ("cpuset.cpus", "cpuset.mems"):
                if (folder / name).exists() and not (folder / name).read_text().strip():
                    (folder / name).write_text((folder.parent / name).read_text())
        return self

    def _delegate(self, folder):
        """Version 2: the controllers that kubelet wants, from the root down to this one."""
        for parent in [*reversed(folder.relative_to(_ROOT).parents)]:
            available = (_ROOT / parent / "cgroup.controllers").read_text().split()
            for controller in {"cpu", "cpuset", "io", "memory", "pids", "hugetlb"}.intersection(available):
                (_ROOT / parent / "cgroup.subtree_control").write_text(f"+{controller}")
        return self

    def delegate_to_children(self):
        if (_ROOT / "cgroup.controllers").exists():
            self._delegate(self._folders[0] / "child")

    def enter(self):
        """The calling process; used between fork and exec."""
        for folder in self._folders:
            (folder / "cgroup.procs").write_text(str(os.getpid()))

    def pids(self):
        """Of every process in it or below it."""
        found = set()
        for folder in self._folders:
            for file in folder.rglob("cgroup.procs"):
                try:
                    found.update(map(int, file.read_text().split()))
                except OSError:
                    pass  # went away in between
        return found - {0}

    def kill(self):
        """Every process in it, at once; returns when none is left."""
        def none_left():
            pids = self.pids()
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            return not pids
        wait_until(none_left, f"the processes of cgroup {self.path} die", 30)

    def remove(self):
        for folder in self._folders:
            for below in sorted(folder.rglob("*/"), key=lambda path: -len(path.parts)):
                if below.is_dir():
                    below.rmdir()
            if folder.exists():
                folder.rmdir()
