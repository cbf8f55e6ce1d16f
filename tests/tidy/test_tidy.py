"""Holds the rules of DESIGN and CONTRIBUTING that a compiler does not: layers, sizes, leftovers."""

import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]

# Which folders a folder may include, besides itself. Arrows point down only.
LAYERS = {
    "common": set(),
    "proto": {"common"},
    "kernels": set(),
    "text": set(),
    "worker/checkpoint": {"common", "proto", "kernels/weight_format.h"},
    "worker/collective": {"common", "proto"},
    "worker/quantize": {"kernels/weight_format.h", "worker/checkpoint/half.h"},
    "worker/model": {"common", "kernels", "worker/checkpoint", "worker/collective", "worker/quantize"},
    "worker/offline": {"common", "kernels", "text", "worker/checkpoint", "worker/collective", "worker/model",
                       "worker/quantize"},
    "worker/engine": {"common", "proto", "worker/model/step_batch.h"},
    "worker/server": {"common", "proto", "kernels", "worker/checkpoint", "worker/collective", "worker/model",
                      "worker/engine"},
    "head": {"common", "proto"},
    "router": {"common", "proto", "text"},
    "operator/kube": {"common"},
    "operator": {"common", "proto", "operator/kube"},
    "cli": {"common", "proto"},
}
FOLDERS = {layer.split("/")[0] for layer in LAYERS} | {"slmmesh", "tests"}
MAX_LINES = 500


def tracked(*patterns):
    listing = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", *patterns], cwd=ROOT, capture_output=True,
                             text=True, check=True).stdout.split("\n")
    return [ROOT / name for name in listing if name and (ROOT / name).exists()]


def layer_of(path):
    matches = [layer for layer in LAYERS if path.startswith(layer + "/")]
    return max(matches, key=len) if matches else None


def is_test(name):
    return "_test." in name or "/testing/" in name or name.startswith("tests/")


def test_includes_point_down_only():
    wrong = []
    for file in tracked("*.cc", "*.h"):
        name = str(file.relative_to(ROOT))
        layer = layer_of(name)
        if layer is None or is_test(name):
            continue
        allowed = LAYERS[layer] | {layer, "slmmesh/v1"}
        for target in re.findall(r'^#include "([^"]+)"', file.read_text(), re.M):
            of_this_project = target.split("/")[0] in FOLDERS
            if of_this_project and not any(target == a or target.startswith(a + "/") for a in allowed):
                wrong.append(f"{name} includes {target}")
    assert not wrong, "\n".join(wrong)


def test_kernels_depend_on_the_standard_library_alone():
    wrong = []
    for file in tracked("kernels/*.cc", "kernels/*.h"):
        for target in re.findall(r"^#include [<\"](absl/|grpc|google/|boost/|spdlog|nlohmann)", file.read_text(), re.M):
            wrong.append(f"{file.name} includes {target}")
    assert not wrong, "\n".join(wrong)


def test_files_stay_small():
    sizes = {str(f.relative_to(ROOT)): len(f.read_text().splitlines()) for f in tracked("*.cc", "*.h", "*.py", "*.rs")}
    assert not {name: lines for name, lines in sizes.items() if lines > MAX_LINES}


def test_nothing_is_left_behind():
    words = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")
    wrong = [f"{f.relative_to(ROOT)}:{n}" for f in tracked("*.cc", "*.h", "*.rs", "*.py", "*.sh", "*.cmake", "*.txt")
             for n, line in enumerate(f.read_text().splitlines(), 1) if words.search(line)]
    assert not wrong, wrong


def test_headers_are_guarded():
    wrong = [str(f.relative_to(ROOT)) for f in tracked("*.h")
             if "#pragma once" not in f.read_text() and not f.name == "slmmesh_text.h"]
    assert not wrong, wrong


def test_tests_do_not_sleep_to_synchronise():
    sleeping = re.compile(r"SleepFor\(|sleep_for\(|usleep\(|\bsleep\(")
    allowed = {"tests/integration/mesh.py"}  # wait_for: a bounded poll
    wrong = [str(f.relative_to(ROOT)) for f in tracked("*_test.cc", "tests/*.py")
             if sleeping.search(f.read_text()) and str(f.relative_to(ROOT)) not in allowed
             and f.name != "test_tidy.py"]
    assert not wrong, wrong


def test_every_dependency_is_in_the_readme():
    install = (ROOT / "tools/install_deps.sh").read_text()
    packages = re.findall(r"\b(lib[a-z0-9+.-]+-dev|prometheus-cpp-dev|nlohmann-json3-dev)\b", install)
    documented = (ROOT / "docs/dependencies.md").read_text()
    missing = [package for package in packages if package not in documented]
    assert not missing, missing
