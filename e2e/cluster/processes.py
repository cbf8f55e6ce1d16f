"""Background processes with a log and a pid file each, stopped by that file alone: never by name."""

import os
import pathlib
import signal
import subprocess
import time


def wait_until(condition, what, timeout_s=60, step_s=0.1):
    """Returns the first true value of condition(); TimeoutError names what was waited for."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout_s} s: {what}")
        time.sleep(step_s)


def _start_time(pid):
    """What tells a process from a later one with the same number; None when it is gone or a zombie."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else fields[19]


class Process:
    """One program. Its pid file outlives this object, so that another run can stop what this one started."""

    def __init__(self, folder, name):
        self.name = name
        self.log = pathlib.Path(folder) / f"{name}.log"
        self._pid_file = pathlib.Path(folder) / f"{name}.pid"
        self._child = None

    def start(self, command, network=None, cgroup=None, environment=None):
        """network: a network namespace's name. cgroup: a Cgroup that the process enters before it starts."""
        assert not self.running(), f"{self.name} runs already"
        if network:
            command = ["nsenter", f"--net=/run/netns/{network}", *command]
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(
                list(map(str, command)), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env=dict(os.environ, **(environment or {})), preexec_fn=cgroup.enter if cgroup else None)
        self._pid_file.write_text(f"{self._child.pid} {_start_time(self._child.pid)}")

    def pid(self):
        """The running process's, else None."""
        if self._child:
            self._child.poll()  # reaps it, where it is ours and dead
        try:
            pid, start_time = self._pid_file.read_text().split()
        except (FileNotFoundError, ValueError):
            return None
        return int(pid) if _start_time(pid) == start_time else None

    def running(self):
        return self.pid() is not None

    def signal(self, number):
        pid = self.pid()
        if pid:
            os.kill(pid, number)

    def stop(self, timeout_s=20):
        """SIGTERM, then SIGKILL."""
        try:
            self.signal(signal.SIGTERM)
            wait_until(lambda: not self.running(), f"{self.name} ends", timeout_s, step_s=0.02)
        except TimeoutError:
            self.kill()
        self._pid_file.unlink(missing_ok=True)

    def kill(self):
        self.signal(signal.SIGKILL)
        wait_until(lambda: not self.running(), f"{self.name} dies", 10, step_s=0.02)
        self._pid_file.unlink(missing_ok=True)

    def last_lines(self, count=15):
        if not self.log.exists():
            return ""
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join(f"    {line[:400]}" for line in lines[-count:])
