#!/usr/bin/env python3
"""Runs the tests (ctest: unit, golden, fuzz; pytest: the real binaries) and ends in one line that counts them."""

import argparse
import os
import pathlib
import re
import subprocess
import sys
import venv

ROOT = pathlib.Path(__file__).resolve().parent.parent


def run_ctest(build, all_labels):
    """Returns (passed, failed, skipped) test cases over all gtest binaries."""
    command = ["ctest", "--test-dir", build, "-j", str(os.cpu_count()), "--output-on-failure"]
    if not all_labels:
        command += ["-L", "fast"]
    status = subprocess.run(command).returncode
    log = (pathlib.Path(build) / "Testing/Temporary/LastTest.log").read_text(errors="replace")
    passed = sum(map(int, re.findall(r"^\[  PASSED  \] (\d+) tests?\.", log, re.M)))
    failed = sum(map(int, re.findall(r"^ ?(\d+) FAILED TESTS?", log, re.M)))
    skipped = sum(map(int, re.findall(r"^\[  SKIPPED \] (\d+) tests?", log, re.M)))
    passed += len(re.findall(r"^MESH_CHECK_PASSED", log, re.M))
    # A crash or a time-out counts no case of its own.
    if status != 0 and failed == 0:
        failed = 1
    return passed, failed, skipped


def python_environment(build):
    """A virtual environment with the official clients that the integration tests use; made once."""
    folder = pathlib.Path(build).resolve() / "venv"
    requirements = ROOT / "tests/integration/requirements.txt"
    stamp = folder / "requirements.stamp"
    if not stamp.exists() or stamp.read_text() != requirements.read_text():
        venv.create(folder, with_pip=True)
        subprocess.run([folder / "bin/pip", "install", "--quiet", "--disable-pip-version-check", "-r", requirements],
                       check=True)
        stamp.write_text(requirements.read_text())
    return folder / "bin/python"


def run_pytest(build, folders):
    python = python_environment(build)
    environment = dict(os.environ, MESH_BUILD_DIR=str(pathlib.Path(build).resolve()))
    result = subprocess.run([python, "-m", "pytest", "-q", "-rs", "--no-header", "-p", "no:cacheprovider",
                             *[ROOT / "tests" / folder for folder in folders]], env=environment, stdout=subprocess.PIPE, text=True)
    print(result.stdout, end="", flush=True)
    summary = result.stdout.strip().splitlines()[-1] if result.stdout.strip() else ""
    counts = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|errors?|skipped)", summary)}
    failed = counts.get("failed", 0) + counts.get("error", 0) + counts.get("errors", 0)
    if result.returncode not in (0, 5) and failed == 0:
        failed = 1
    return counts.get("passed", 0), failed, counts.get("skipped", 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", default="build")
    parser.add_argument("--fast", action="store_true", help="unit tests, tests of the bench's figures and tidy alone")
    parser.add_argument("--unit", action="store_true", help="the C++ unit tests alone, as under a sanitizer")
    parser.add_argument("--prepare", action="store_true", help="only make the Python environment")
    options = parser.parse_args()
    if options.prepare:
        python_environment(options.build)
        return 0
    results = [run_ctest(options.build, all_labels=not (options.fast or options.unit))]
    if not options.unit:
        slow = [] if options.fast else ["chart", "images", "integration"]
        results.append(run_pytest(options.build, ["tidy", "bench", *slow]))
    passed, failed, skipped = (sum(column) for column in zip(*results))
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
