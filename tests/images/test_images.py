"""The images of deploy/images: what is inside, what must not be, and that the same programs give the same bytes."""

import io
import json
import os
import pathlib
import re
import subprocess
import sys
import tarfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("MESH_BUILD_DIR", ROOT / "build"))
sys.path.insert(0, str(ROOT / "deploy/images"))
import build
import libraries
import sbom
from image import ImageConfig, RootFilesystem, sha256, write_image

ROLES = [role for role in build.ROLES if (BUILD / f"bin/mesh-{role}").exists()]


class Image:
    """One archive, opened."""

    def __init__(self, path):
        self.path = path
        with tarfile.open(path) as archive:
            self.files = {member.name: archive.extractfile(member).read() for member in archive if member.isfile()}
        self.index = json.loads(self.files["index.json"])
        self.manifest = json.loads(self.blob(self.index["manifests"][0]["digest"]))
        self.config = json.loads(self.blob(self.manifest["config"]["digest"]))
        (layer,) = self.manifest["layers"]
        self.layer = tarfile.open(fileobj=io.BytesIO(self.blob(layer["digest"])))
        self.members = {f"/{member.name}": member for member in self.layer.getmembers()}

    def blob(self, digest):
        contents = self.files[f"blobs/sha256/{digest.removeprefix('sha256:')}"]
        assert f"sha256:{sha256(contents)}" == digest
        return contents

    def read(self, path):
        return self.layer.extractfile(self.members[path]).read()

    def programs(self):
        """ELF files by path."""
        return [path for path, member in self.members.items() if member.isfile() and self.read(path)[:4] == b"\x7fELF"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    crates = sbom.crates_of(ROOT / "text/rust/Cargo.lock")
    for role in ROLES:
        build.build_image(BUILD / f"bin/mesh-{role}", f"localhost/slm-mesh-{role}:1.2.3",
                          crates if role == "router" else [], folder)
    return folder


@pytest.fixture(params=ROLES)
def role(request):
    return request.param


@pytest.fixture
def image(folder, role):
    return Image(folder / f"slm-mesh-{role}.tar")


@pytest.fixture
def bill(folder, role):
    return json.loads((folder / f"slm-mesh-{role}.spdx.json").read_text())


def test_same_input_same_bytes(folder, tmp_path):
    name = "slm-mesh-head"
    _, digest, _ = build.build_image(BUILD / "bin/mesh-head", f"localhost/{name}:1.2.3", [], tmp_path)
    for file in (f"{name}.tar", f"{name}.spdx.json"):
        assert (tmp_path / file).read_bytes() == (folder / file).read_bytes(), file
    assert Image(tmp_path / f"{name}.tar").index["manifests"][0]["digest"] == digest


def test_order_of_files_does_not_matter(tmp_path):
    digests = set()
    for paths in (["/a/b", "/a/a", "/b"], ["/b", "/a/a", "/a/b"]):
        root = RootFilesystem()
        for path in paths:
            root.file(path, path.encode())
        digests.add(write_image(ImageConfig(name="localhost/x:1", entrypoint=("/b",)), root, tmp_path / "x.tar"))
    assert len(digests) == 1


def test_small(image):
    assert image.path.stat().st_size < 60e6


def test_one_program_no_shell(image, role):
    in_bin = [path for path in image.members if path.startswith("/bin/")]
    assert in_bin == [f"/bin/mesh-{role}"]
    # Every other executable is a library or the dynamic linker.
    others = [path for path in image.programs() if path not in in_bin]
    assert [path for path in others if ".so" not in pathlib.PurePosixPath(path).name] == []


def test_not_root_and_nothing_writable(image):
    config = image.config["config"]
    assert config["User"] == "65532:65532"
    assert b"mesh:x:65532:65532:" in image.read("/etc/passwd")
    for path, member in image.members.items():
        assert member.uid == member.gid == 0 and member.mtime == 0, path
        assert path == "/tmp" or member.mode & 0o6022 == 0, f"{path} has mode {member.mode:o}"
        assert member.isfile() or member.isdir(), path


def test_entrypoint_and_labels(image, role):
    config = image.config["config"]
    assert config["Entrypoint"] == [f"/bin/mesh-{role}"]
    assert config["Labels"]["org.opencontainers.image.version"] == "1.2.3"
    assert json.loads(image.files["manifest.json"])[0]["RepoTags"] == [f"localhost/slm-mesh-{role}:1.2.3"]


def test_stripped(image, role, tmp_path):
    program = tmp_path / "program"
    program.write_bytes(image.read(f"/bin/mesh-{role}"))
    sections = subprocess.run(["readelf", "-SW", program], check=True, capture_output=True, text=True).stdout
    assert ".symtab" not in sections and ".debug_info" not in sections


def test_every_library_is_inside(image, tmp_path):
    """What the dynamic linker will look for, of every program and library, lies where it looks."""
    names = {pathlib.PurePosixPath(path).name for path in image.members}
    for path in image.programs():
        file = tmp_path / "file"
        file.write_bytes(image.read(path))
        headers = subprocess.run(["readelf", "-ldW", file], check=True, capture_output=True, text=True).stdout
        needed = re.findall(r"\(NEEDED\).*\[(.*)\]", headers)
        assert [name for name in needed if name not in names] == [], path
        for interpreter in re.findall(r"program interpreter: (.*)\]", headers):
            assert interpreter in image.members, path


def test_names_resolve(image):
    """glibc asks files, then DNS; both are built into libc itself since 2.34."""
    assert b"hosts: files dns" in image.read("/etc/nsswitch.conf")


def test_bill_is_well_formed(bill):
    assert bill["spdxVersion"] == "SPDX-2.3"
    identifiers = [package["SPDXID"] for package in bill["packages"]]
    assert len(identifiers) == len(set(identifiers))
    assert all(re.fullmatch(r"SPDXRef-[A-Za-z0-9.-]+", identifier) for identifier in identifiers)
    related = {relationship["relatedSpdxElement"] for relationship in bill["relationships"]}
    assert related == set(identifiers)


def test_bill_names_what_is_inside(image, bill, role):
    packages = {package["name"]: package for package in bill["packages"]}
    assert packages[f"slm-mesh-{role}"]["versionInfo"] == "1.2.3"
    assert packages[f"slm-mesh-{role}"]["checksums"][0]["checksumValue"] == sha256(image.read(f"/bin/mesh-{role}"))
    for path in image.programs():
        if path.startswith("/bin/"):
            continue
        package = libraries.package_of(path)
        assert packages[package]["versionInfo"] == libraries.package_version(package)[0], path
        assert f"/usr/share/doc/{package}/copyright" in image.members or not libraries.copyright_of(package)


def test_bill_names_every_crate(folder):
    bill = json.loads((folder / "slm-mesh-router.spdx.json").read_text())
    listed = {(package["name"], package["versionInfo"]) for package in bill["packages"]}
    locked = re.findall(r'name = "(.*)"\nversion = "(.*)"\nsource', (ROOT / "text/rust/Cargo.lock").read_text())
    assert len(locked) > 20 and set(locked) <= listed


def test_only_the_router_links_crates(folder, role):
    """Where this changes, build.py has to list the crates for that program as well."""
    symbols = subprocess.run(["nm", "-C", BUILD / f"bin/mesh-{role}"], capture_output=True, text=True).stdout
    assert ("tokenizers::" in symbols) == (role == "router")
