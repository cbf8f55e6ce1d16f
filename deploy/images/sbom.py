"""A software bill of materials, SPDX 2.3 as JSON: what is inside an image, down to versions and digests."""

import re
import tomllib

import image
from libraries import package_version


def crates_of(lock_file):
    """The crates that are linked in, from Cargo.lock: (name, version, sha256). Our own have no source and no digest."""
    lock = tomllib.loads(lock_file.read_text())
    return [(crate["name"], crate["version"], crate["checksum"]) for crate in lock["package"] if "checksum" in crate]


def _package(kind, name, version, url, **more):
    identifier = "SPDXRef-" + re.sub(r"[^A-Za-z0-9.-]", "-", f"{kind}-{name}-{version}")
    return {"SPDXID": identifier, "name": name, "versionInfo": version, "downloadLocation": "NOASSERTION",
            "filesAnalyzed": False, "licenseConcluded": "NOASSERTION", "licenseDeclared": "NOASSERTION",
            "copyrightText": "NOASSERTION",
            "externalRefs": [{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl",
                              "referenceLocator": url}], **more}


def _debian(name):
    version, source = package_version(name)
    quoted = version.replace("+", "%2B").replace(":", "%3A")
    return _package("deb", name, version, f"pkg:deb/debian/{name.replace('+', '%2B')}@{quoted}"
                    f"?arch={image.ARCHITECTURE}&distro=debian-12", supplier="Organization: Debian",
                    sourceInfo=f"source package {source}")


def document(name, version, digest, program_sha256, shared_packages, compiled_packages, crates):
    """digest: the image's. shared_packages: whose libraries lie in the image. compiled_packages: whose headers or
    archives the program was made with. All sorted, so that the same image has the same document."""
    own = _package("image", name, version, f"pkg:oci/{name}@{digest.replace(':', '%3A')}?tag={version}",
                   licenseDeclared="Apache-2.0", supplier="Organization: slm-mesh",
                   checksums=[{"algorithm": "SHA256", "checksumValue": program_sha256}],
                   comment="the checksum is the program's")
    packages = [own]
    relationships = [("SPDXRef-DOCUMENT", "DESCRIBES", own["SPDXID"])]

    def add(package, relation):
        packages.append(package)
        relationships.append((own["SPDXID"], relation, package["SPDXID"]))

    for package in sorted(shared_packages):
        add(_debian(package), "CONTAINS")
    for package in sorted(set(compiled_packages) - set(shared_packages)):
        add(_debian(package), "STATIC_LINK")
    for crate, crate_version, checksum in sorted(crates):
        add(_package("cargo", crate, crate_version, f"pkg:cargo/{crate}@{crate_version.replace('+', '%2B')}",
                     checksums=[{"algorithm": "SHA256", "checksumValue": checksum}]), "STATIC_LINK")
    return {
        "spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": f"{name}-{version}",
        "documentNamespace": f"https://slmmesh.io/spdx/{name}/{digest.removeprefix('sha256:')}",
        "creationInfo": {"created": image.CREATED, "creators": ["Tool: slm-mesh-deploy-images"]},
        "packages": packages,
        "relationships": [{"spdxElementId": subject, "relationshipType": relation, "relatedSpdxElement": other}
                          for subject, relation, other in relationships],
    }
