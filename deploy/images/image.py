"""Container images FROM scratch without root, daemon or registry: an archive that `docker load`, `podman load`,
`ctr images import` and `skopeo copy oci-archive:` read. The same input gives the same bytes."""

import dataclasses
import hashlib
import io
import json
import pathlib
import platform
import stat
import tarfile

ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
CREATED = "1970-01-01T00:00:00Z"  # the time of a build is no property of what was built


class RootFilesystem:
    """The one layer: files and folders by absolute path, written sorted, owned by root, without times."""

    def __init__(self):
        self._entries = {}  # path → (mode, contents or None for a folder)

    def folder(self, path, mode=0o755):
        for parent in reversed(pathlib.PurePosixPath(path).parents):
            if str(parent) != "/":
                self._entries.setdefault(str(parent), (0o755, None))
        self._entries[path] = (mode, None)

    def file(self, path, contents, mode=0o644):
        self.folder(str(pathlib.PurePosixPath(path).parent))
        self._entries[path] = (mode, contents)

    def archive(self):
        return _tar({path.lstrip("/"): entry for path, entry in self._entries.items()})


def _tar(entries):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path, (mode, contents) in sorted(entries.items()):
            header = tarfile.TarInfo(path)
            header.mode = stat.S_IMODE(mode)
            if contents is None:
                header.type = tarfile.DIRTYPE
                archive.addfile(header)
            else:
                header.size = len(contents)
                archive.addfile(header, io.BytesIO(contents))
    return stream.getvalue()


def sha256(contents):
    return hashlib.sha256(contents).hexdigest()


def _json(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


@dataclasses.dataclass(frozen=True)
class ImageConfig:
    name: str          # with registry and tag: localhost/slm-mesh-head:0.1.0
    entrypoint: tuple
    user: str = "65532:65532"
    labels: tuple = ()  # of (name, value)


def write_image(config, root, path):
    """Writes the archive; returns the image's digest (of its manifest, as registries name it)."""
    layer = root.archive()
    configuration = _json({
        "architecture": ARCHITECTURE, "os": "linux", "created": CREATED,
        "config": {"Entrypoint": list(config.entrypoint), "User": config.user, "WorkingDir": "/",
                   "Labels": dict(config.labels)},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256(layer)}"]},
        "history": [{"created": CREATED, "created_by": "deploy/images/build.py"}],
    })
    descriptor = lambda kind, blob: {"mediaType": f"application/vnd.oci.image.{kind}", "size": len(blob),
                                     "digest": f"sha256:{sha256(blob)}"}
    manifest = _json({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("config.v1+json", configuration), "layers": [descriptor("layer.v1.tar", layer)],
    })
    index = _json({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{**descriptor("manifest.v1+json", manifest),
                       "annotations": {"io.containerd.image.name": config.name,
                                       "org.opencontainers.image.ref.name": config.name.rpartition(":")[2]}}],
    })
    blob = lambda contents: f"blobs/sha256/{sha256(contents)}"
    docker = _json([{"Config": blob(configuration), "RepoTags": [config.name], "Layers": [blob(layer)]}])
    files = {blob(contents): contents for contents in (layer, configuration, manifest)}
    files |= {"index.json": index, "manifest.json": docker, "oci-layout": _json({"imageLayoutVersion": "1.0.0"})}
    path = pathlib.Path(path)
    new = path.with_suffix(".new")
    new.write_bytes(_tar({name: (0o644, contents) for name, contents in files.items()}))
    new.replace(path)
    return f"sha256:{sha256(manifest)}"
