"""The throwaway certificates and kubeconfigs of a test cluster, made with openssl."""

import json
import base64
import pathlib
import subprocess


def _openssl(*arguments, **options):
    subprocess.run(["openssl", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL, **options)


class Certificates:
    """A CA and what it signed, in one folder: NAME.crt and NAME.key. Making the same name twice keeps the first."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.authority = self.folder / "ca.crt"
        if not self.authority.exists():
            self._key("ca")
            _openssl("req", "-x509", "-new", "-key", self.folder / "ca.key", "-subj", "/CN=slm-mesh-e2e",
                     "-days", 30, "-out", self.authority)

    def _key(self, name):
        _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", self.folder / f"{name}.key")

    def crt(self, name):
        return self.folder / f"{name}.crt"

    def key(self, name):
        return self.folder / f"{name}.key"

    def make(self, name, subject, alternative_names=()):
        """subject as openssl writes it: /O=system:masters/CN=admin. Names as DNS:x and IP:y."""
        if self.crt(name).exists():
            return
        self._key(name)
        request = self.folder / f"{name}.csr"
        extensions = self.folder / f"{name}.ext"
        extensions.write_text("extendedKeyUsage=serverAuth,clientAuth\n"
                              f"subjectAltName={','.join(alternative_names) or 'DNS:' + name}\n")
        _openssl("req", "-new", "-key", self.key(name), "-subj", subject, "-out", request)
        _openssl("x509", "-req", "-in", request, "-CA", self.authority, "-CAkey", self.folder / "ca.key",
                 "-CAcreateserial", "-days", 30, "-extfile", extensions, "-out", self.crt(name))

    def make_signing_key(self):
        """The key pair of service account tokens."""
        if not self.key("service-accounts").exists():
            _openssl("genrsa", "-out", self.key("service-accounts"), 2048)
        return self.key("service-accounts")

    def kubeconfig(self, name, server, path):
        """A file (JSON, so YAML) that signs in with NAME's certificate; everything embedded."""
        embedded = lambda file: base64.b64encode(file.read_bytes()).decode()
        path.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "e2e",
            "clusters": [{"name": "e2e", "cluster": {
                "server": server, "certificate-authority-data": embedded(self.authority)}}],
            "users": [{"name": name, "user": {
                "client-certificate-data": embedded(self.crt(name)), "client-key-data": embedded(self.key(name))}}],
            "contexts": [{"name": "e2e", "context": {"cluster": "e2e", "user": name}}],
        }, indent=1))
        path.chmod(0o600)
        return path
