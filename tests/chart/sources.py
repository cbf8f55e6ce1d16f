"""Where the files under test are."""

import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
CRD = ROOT / "deploy/crds/slmmesh.io_inferenceclusters.yaml"
