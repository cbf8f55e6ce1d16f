"""Whether the machine is free for a measurement, and what other programs took of it meanwhile."""

import contextlib
import os
import pathlib
import resource
import threading
import time

IDLE_ENOUGH = 0.9
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def processor_seconds():
    """(idle, all) of all processors since boot; time that a hypervisor gave to others is not idle."""
    ticks = [int(field) for field in open("/proc/stat").readline().split()[1:9]]
    return (ticks[3] + ticks[4]) / TICKS_PER_SECOND, sum(ticks) / TICKS_PER_SECOND


def own_seconds(pids):
    """Processor time of this process, of its children that ended, and of `pids`."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    own = sum(usage.ru_utime + usage.ru_stime for usage in usages)
    for pid in pids:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        own += (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND
    return own


def wait_until_idle(longest_seconds):
    """Returns whether the machine was idle for a second within that time."""
    deadline = time.monotonic() + longest_seconds
    while time.monotonic() < deadline:
        idle, total = processor_seconds()
        threading.Event().wait(1)
        now_idle, now_total = processor_seconds()
        if now_idle - idle >= IDLE_ENOUGH * (now_total - total):
            return True
    return False


@contextlib.contextmanager
def watched(sample, longest_wait_seconds, pids=()):
    """Waits for an idle machine and notes in `sample` whether it stayed so but for us (children and `pids`)."""
    idle_before = wait_until_idle(longest_wait_seconds)
    own, (idle, total) = own_seconds(pids), processor_seconds()
    yield
    now_own, (now_idle, now_total) = own_seconds(pids), processor_seconds()
    others = (now_total - total) - (now_idle - idle) - (now_own - own)
    sample["others_share"] = max(0.0, others / max(1e-9, now_total - total))
    sample["quiet"] = idle_before and sample["others_share"] <= 1 - IDLE_ENOUGH
