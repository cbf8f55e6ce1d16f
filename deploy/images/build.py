#!/usr/bin/env python3
"""Makes the images of slm-mesh from the built programs: FROM scratch, one program each, no shell, user 65532.

Writes BUILD/images/slm-mesh-ROLE.tar (docker load, ctr images import, skopeo copy oci-archive:…) and beside each its
bill of materials, slm-mesh-ROLE.spdx.json, and prints a table of names, sizes and digests.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile

import sbom
from image import ImageConfig, RootFilesystem, sha256, write_image
from libraries import copyright_of, package_of, package_version, shared_libraries

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
ROLES = ("head", "router", "worker", "operator")
# Headers alone: no library of theirs shows that they are inside.
COMPILED_PACKAGES = ("libboost1.81-dev", "nlohmann-json3-dev")
USER = 65532


def project_version():
    return re.search(r"project\(slm-mesh VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text()).group(1)


def stripped(program):
    with tempfile.NamedTemporaryFile() as copy:
        subprocess.run(["strip", "--strip-all", "-o", copy.name, program], check=True)
        return pathlib.Path(copy.name).read_bytes()


def add_base(root):
    """What a program expects of any Linux: a user, a temporary folder, and names looked up in files, then DNS."""
    root.file("/etc/passwd", f"root:x:0:0::/:/nologin\nmesh:x:{USER}:{USER}::/:/nologin\n".encode())
    root.file("/etc/group", f"root:x:0:\nmesh:x:{USER}:\n".encode())
    root.file("/etc/nsswitch.conf", b"passwd: files\ngroup: files\nhosts: files dns\n")
    root.folder("/tmp", 0o1777)


def build_image(program, name, crates, folder):
    """One image; (path, digest, bytes)."""
    binary = stripped(program)
    root = RootFilesystem()
    add_base(root)
    root.file(f"/bin/{program.name}", binary, 0o755)
    packages = set()
    for library in shared_libraries(program):
        package = package_of(library)
        if package is None:
            raise RuntimeError(f"{library} is of no Debian package: the bill of materials would not name it")
        packages.add(package)
        root.file(library, pathlib.Path(library).read_bytes(), 0o755)
    for package in packages:
        text = copyright_of(package)
        if text:
            root.file(f"/usr/share/doc/{package}/copyright", text)
    root.file("/usr/share/doc/slm-mesh/copyright", (ROOT / "LICENSE").read_bytes())

    version = name.rpartition(":")[2]
    title = name.rpartition(":")[0].rpartition("/")[2]
    config = ImageConfig(name=name, entrypoint=(f"/bin/{program.name}",), user=f"{USER}:{USER}", labels=(
        ("org.opencontainers.image.title", title), ("org.opencontainers.image.version", version),
        ("org.opencontainers.image.licenses", "Apache-2.0")))
    path = folder / f"{title}.tar"
    digest = write_image(config, root, path)
    document = sbom.document(title, version, digest, sha256(binary), packages,
                             [package for package in COMPILED_PACKAGES if is_installed(package)], crates)
    (folder / f"{title}.spdx.json").write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")
    return path, digest, path.stat().st_size


def is_installed(package):
    try:
        return bool(package_version(package))
    except (subprocess.CalledProcessError, RuntimeError):
        return False


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=ROOT / "build", type=pathlib.Path, help="the folder with bin/")
    parser.add_argument("--out", type=pathlib.Path, help="default: BUILD/images")
    parser.add_argument("--registry", default="localhost", help="what stands before the name: REGISTRY/slm-mesh-head")
    parser.add_argument("--tag", default=project_version())
    parser.add_argument("roles", nargs="*", metavar="role", help="head, router, worker, operator; default: all")
    options = parser.parse_args()
    folder = options.out or options.build / "images"
    folder.mkdir(parents=True, exist_ok=True)
    crates = sbom.crates_of(ROOT / "text/rust/Cargo.lock")
    for role in options.roles or ROLES:
        program = options.build / f"bin/mesh-{role}"
        if not program.exists():
            sys.exit(f"{program} is not built: make build")
        name = f"{options.registry}/slm-mesh-{role}:{options.tag}"
        # The crates are those of text/, which the router alone links.
        path, digest, size = build_image(program, name, crates if role == "router" else [], folder)
        print(f"{name:40} {size / 1e6:5.1f} MB  {digest}")


if __name__ == "__main__":
    main()
