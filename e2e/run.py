#!/usr/bin/env python3
"""The scenarios on a real Kubernetes of two nodes: builds what is missing, brings it up, runs pytest, takes it down.

Needs root: network namespaces, containerd. Everything it starts lives in one folder and in namespaces and cgroups named
after that folder. Arguments after -- go to pytest (-k rollout, -x).
"""

import argparse
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(HERE / "cluster"), str(ROOT / "deploy/images")]
MODEL = ROOT / "models/SmolLM2-135M-Instruct.Q4_1.gguf"
ROLES = ("head", "router", "worker", "operator")


def say(begin, what):
    print(f"[{time.monotonic() - begin:6.1f} s] {what}", flush=True)


def prepare(build):
    """Programs, packages, Python, images, the model: whatever is not there yet."""
    from nodes import PACKAGES
    # RUNLEVEL: Debian's packages start nothing at runlevel 1; we start our own.
    subprocess.run([ROOT / "tools/install_deps.sh", *PACKAGES], check=True,
                   env=dict(os.environ, RUNLEVEL="1"))
    subprocess.run([ROOT / "tools/fetch_model.sh"], check=True)
    subprocess.run([ROOT / "tools/run_tests.py", "--build", build, "--prepare"], check=True)
    subprocess.run([ROOT / "deploy/images/build.py", "--build", build], check=True)


def put_models(folder):
    """Two versions of a model, of the same bytes: answers can be compared across a rollout."""
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)
    for name in ("v1.gguf", "v2.gguf"):
        if not (folder / name).exists():
            shutil.copyfile(MODEL, folder / name)
            (folder / name).chmod(0o644)
    return folder


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=ROOT / "build", type=pathlib.Path)
    parser.add_argument("--folder", type=pathlib.Path, help="state of the cluster; kept between runs with --keep")
    parser.add_argument("--keep", action="store_true", help="leave the cluster running")
    parser.add_argument("--again", action="store_true",
                        help="run what failed once more: on a shared machine, not every patience is long enough")
    parser.add_argument("pytest", nargs="*", help="further arguments of pytest, after --")
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("e2e/run.py: network namespaces and containerd need root: sudo make e2e")
    build = options.build.resolve()
    begin = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # takes the cluster down, as any other end does
    prepare(build)
    say(begin, "programs and images are built")

    from build import project_version
    from nodes import Cluster
    folder = options.folder or pathlib.Path(tempfile.mkdtemp(prefix="slm-mesh-e2e-"))
    cluster = Cluster(folder)
    say(begin, "Kubernetes is built")
    folder.chmod(0o755)
    try:
        cluster.up()
        for role in ROLES:
            cluster.import_image(build / f"images/slm-mesh-{role}.tar")
        say(begin, f"two nodes are Ready, images are imported; state and logs: {folder}")
        environment = dict(os.environ, E2E_FOLDER=str(folder), E2E_BUILD=str(build), E2E_TAG=project_version(),
                           E2E_MODELS=str(put_models(folder / "models")), E2E_TIMINGS=str(build / "e2e.json"))
        scenarios = ["nsenter", f"--net=/run/netns/{cluster.network.control_plane}", build / "venv/bin/python", "-m",
                     "pytest", "-q", "-ra", "--no-header", "--tb=short", "-o", f"cache_dir={folder}/pytest",
                     "--durations=0", "--durations-min=5", "--maxfail=5",  # each waits until its patience ends
                     HERE, *options.pytest]
        status = subprocess.run(scenarios, env=environment).returncode
        if status == 1 and options.again:
            say(begin, "once more, what failed:")
            status = subprocess.run([*scenarios, "--last-failed"], env=environment).returncode
    finally:
        if options.keep:
            print(f"kept: e2e/cluster/nodes.py down {folder}")
        else:
            cluster.down()
            cluster.remove()
    say(begin, "done")
    return status


if __name__ == "__main__":
    sys.exit(main())
