#!/usr/bin/env python3
"""Runs clang-tidy over the project's .cc files; one that was clean with the same inputs is not looked at again.

usage: tidy.py BUILD [FILE …]     (FILE: .cc files; all that are built when absent)
"""

import concurrent.futures
import hashlib
import json
import os
import pathlib
import platform
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def run(*command):
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def headers_by_source(build):
    """Which of the project's files each object was compiled from, as the last build saw it."""
    headers, current = {}, []
    for line in run("ninja", "-C", build, "-t", "deps").stdout.splitlines():
        if not line.startswith(" "):
            current = []
            continue
        path = os.path.normpath(os.path.join(build, line.strip()))
        current.append(path)
        if path.endswith(".cc") and current[0] == path:
            headers[path] = current  # the same list: what follows belongs to it
    return headers


def fingerprint(files):
    digest = hashlib.sha256()
    for file in sorted(f for f in files if str(ROOT) in f and os.path.exists(f)):
        digest.update(file.encode() + b"\0" + pathlib.Path(file).read_bytes())
    return digest.hexdigest()


def without_precompiled_headers(build, folder):
    """clang cannot read g++'s, and what a source includes by itself is what is looked at."""
    commands = json.loads((pathlib.Path(build) / "compile_commands.json").read_text())
    for command in commands:
        command["command"] = re.sub(r" -fpch-preprocess| -include \S*cmake_pch\.hxx", "", command["command"])
    (folder / "compile_commands.json").write_text(json.dumps(commands))


def main():
    build = os.path.abspath(sys.argv[1])
    wanted = sys.argv[2:] or run("git", "ls-files", "-co", "--exclude-standard", "*.cc").stdout.split()
    # Compiled under a sanitizer alone, or on another machine.
    other_machine = ("kernels/cpu/neon/",) if platform.machine() == "x86_64" else ("kernels/cpu/amx/", "kernels/cpu/avx")
    elsewhere = ("tests/sanitize/", *other_machine)
    wanted = [str(ROOT / name) for name in wanted if (ROOT / name).exists() and not name.startswith(elsewhere)]
    headers = headers_by_source(build)
    unbuilt = [name for name in wanted if name not in headers]
    if unbuilt:
        sys.exit("tidy: not built yet, so nobody knows how to read them: " + " ".join(unbuilt))
    stamps = pathlib.Path(build) / "tidy"
    stamps.mkdir(exist_ok=True)
    without_precompiled_headers(build, stamps)

    def look(source):
        stamp = stamps / re.sub(r"\W", "_", os.path.relpath(source, ROOT))
        key = fingerprint(headers[source] + [str(ROOT / ".clang-tidy")])
        if stamp.exists() and stamp.read_text() == key:
            return None
        result = run("clang-tidy", "-p", str(stamps), "--quiet", source)
        if result.returncode != 0:
            return result.stdout
        stamp.write_text(key)
        return ""

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(look, wanted))
    failed = [text for text in results if text]
    print("\n".join(failed), end="")
    known = sum(text is None for text in results)
    print(f"clang-tidy: {len(results)} files, {known} unchanged since they were clean, {len(failed)} with warnings")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
