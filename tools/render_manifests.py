#!/usr/bin/env python3
"""Carries deploy/crds and deploy/dashboards into the chart, and the chart's output into deploy/kustomize.

usage: render_manifests.py [--check] HELM     (--check: changes nothing, and fails where something would change)
"""

import argparse
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
CHART = ROOT / "helm/slm-mesh"
KUSTOMIZE = ROOT / "deploy/kustomize"
WRITTEN_BY_HAND = {"kustomization.yaml", "namespace.yaml"}


def copy_into_chart(chart):
    for folder in ("crds", "dashboards"):
        shutil.rmtree(chart / "files" / folder, ignore_errors=True)
        shutil.copytree(ROOT / "deploy" / folder, chart / "files" / folder)


def render(helm, chart, target):
    """`helm template` with the default values, one file a template."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([helm, "template", "slm-mesh", chart, "--namespace=slm-system", "--kube-version=1.36.0",
                        f"--output-dir={folder}"], check=True, stdout=subprocess.DEVNULL)
        for file in sorted((pathlib.Path(folder) / "slm-mesh/templates").iterdir()):
            (target / file.name).write_text(file.read_text().replace("# Source: slm-mesh/", "# From helm/slm-mesh/"))


def contents(folder):
    return {str(file.relative_to(folder)): file.read_text() for file in sorted(folder.rglob("*")) if file.is_file()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("helm")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        chart = pathlib.Path(folder) / "slm-mesh"
        kustomize = pathlib.Path(folder) / "kustomize"
        shutil.copytree(CHART, chart)
        kustomize.mkdir()
        copy_into_chart(chart)
        render(options.helm, chart, kustomize)
        for name in WRITTEN_BY_HAND:
            shutil.copy(KUSTOMIZE / name, kustomize / name)
        changed = []
        for made, kept in ((chart / "files", CHART / "files"), (kustomize, KUSTOMIZE)):
            if contents(made) != contents(kept):
                changed.append(str(kept.relative_to(ROOT)))
                if not options.check:
                    shutil.rmtree(kept)
                    shutil.copytree(made, kept)
    print("\n".join(changed) or "nothing changed")
    return 1 if options.check and changed else 0


if __name__ == "__main__":
    sys.exit(main())
