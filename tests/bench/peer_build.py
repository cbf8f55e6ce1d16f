"""Builds llama.cpp as its users would: native CPU flags, release, from the sources inside PyPI's llama-cpp-python.

Everything lives in build/peer and is made once: a build takes five to eight minutes on two cores."""

import argparse
import hashlib
import os
import pathlib
import subprocess
import tarfile
import venv

VERSION = "0.3.36"
COMMIT = "0c1e57098"  # of llama.cpp, vendored in that version
DIGEST = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
TOOLS = ["llama-bench", "llama-batched-bench", "llama-server", "llama-quantize"]
# No parts that fetch from the network or need a browser, and the same C++ compiler as ours.
OPTIONS = {"CMAKE_BUILD_TYPE": "Release", "GGML_NATIVE": "ON", "BUILD_SHARED_LIBS": "OFF", "LLAMA_BUILD_UI": "OFF",
           "LLAMA_USE_PREBUILT_UI": "OFF", "LLAMA_OPENSSL": "OFF", "LLAMA_BUILD_TESTS": "OFF",
           "LLAMA_BUILD_EXAMPLES": "OFF", "LLAMA_BUILD_APP": "OFF", "LLAMA_BUILD_TOOLS": "ON",
           "LLAMA_BUILD_SERVER": "ON", "LLAMA_BUILD_COMMIT": COMMIT, "LLAMA_BUILD_NUMBER": "0"}


def environment(folder):
    """A virtual environment for what pip needs to unpack the sdist, for gguf (models) and matplotlib (plots)."""
    python = folder / "venv/bin/python"
    stamp = folder / "venv/requirements.stamp"
    requirements = pathlib.Path(__file__).with_name("peer_requirements.txt")
    if not stamp.exists() or stamp.read_text() != requirements.read_text():
        venv.create(folder / "venv", with_pip=True)
        pip(folder, "install", "-r", requirements)
        stamp.write_text(requirements.read_text())
    return python


def pip(folder, command, *arguments):
    subprocess.run([folder / "venv/bin/pip", command, "--quiet", "--disable-pip-version-check", *arguments], check=True)


def sources(folder):
    """The folder of llama.cpp's sources, fetched and checked by digest when it is not there."""
    unpacked = folder / f"llama_cpp_python-{VERSION}"
    if not (unpacked / "unpacked.stamp").exists():
        # pip asks the package's build backend for metadata even to download it; the environment has that backend.
        pip(folder, "download", "--no-deps", "--no-build-isolation", "--no-binary", "llama-cpp-python",
            "--dest", folder / "download", f"llama-cpp-python=={VERSION}")
        archive = folder / f"download/llama_cpp_python-{VERSION}.tar.gz"
        found = hashlib.sha256(archive.read_bytes()).hexdigest()
        if found != DIGEST:
            raise SystemExit(f"{archive.name}: sha256 is {found}, not {DIGEST}; delete {archive} and try again")
        with tarfile.open(archive) as opened:
            opened.extractall(folder)  # what the digest names, nothing else
        (unpacked / "unpacked.stamp").touch()
    return unpacked / "vendor/llama.cpp"


def build(folder, jobs):
    """Returns the folder with llama.cpp's programs, built when one is missing."""
    binaries = folder / "llama.cpp/bin"
    if not all((binaries / tool).exists() for tool in TOOLS):
        print(f"building llama.cpp {COMMIT} with {jobs} jobs; once, some minutes", flush=True)
        with open(folder / "llama.cpp.log", "w") as log:
            configure = ["cmake", "-S", sources(folder), "-B", folder / "llama.cpp", "-G", "Ninja"]
            configure += [f"-D{key}={value}" for key, value in OPTIONS.items()]
            for command in (configure, ["ninja", "-C", folder / "llama.cpp", "-j", str(jobs), *TOOLS]):
                if subprocess.run(["nice", "-n", "10", *command], stdout=log, stderr=log).returncode:
                    raise SystemExit(f"llama.cpp did not build; see {log.name}")
    return binaries


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=pathlib.Path, help="where it is kept: build/peer")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    environment(arguments.folder.resolve())
    build(arguments.folder.resolve(), arguments.jobs)
