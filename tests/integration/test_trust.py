"""No process answers a stranger; the right role gets in."""

import ssl
import stat
import subprocess
import urllib.error
import urllib.request

import grpc
import pytest

from mesh import MODEL, NAME


def credentials(mesh, role):
    folder = mesh.run_folder / "tls" / role
    return grpc.ssl_channel_credentials((folder / "ca.crt").read_bytes(), (folder / "tls.key").read_bytes(),
                                        (folder / "tls.crt").read_bytes())


def call(target, channel_credentials, name, method="/slmmesh.v1.Head/GetTable"):
    with grpc.secure_channel(target, channel_credentials, [("grpc.ssl_target_name_override", name)]) as channel:
        return channel.unary_unary(method)(b"", timeout=5)


def test_the_run_folder_is_private(mesh):
    for path in (mesh.run_folder, mesh.run_folder / "tls", mesh.run_folder / "tls/admin"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert stat.S_IMODE((mesh.run_folder / "tls/admin/tls.key").stat().st_mode) == 0o600


def test_the_head_answers_the_admin_and_nobody_without_a_certificate(mesh):
    head = mesh.state()["head"]
    name = f"head.{mesh.cluster}.slmmesh"
    assert call(head, credentials(mesh, "admin"), name)
    with pytest.raises(grpc.RpcError) as plain:
        with grpc.insecure_channel(head) as channel:
            channel.unary_unary("/slmmesh.v1.Head/GetTable")(b"", timeout=5)
    assert plain.value.code() == grpc.StatusCode.UNAVAILABLE
    anonymous = grpc.ssl_channel_credentials((mesh.run_folder / "tls/admin/ca.crt").read_bytes())
    with pytest.raises(grpc.RpcError) as no_certificate:
        call(head, anonymous, name)
    assert no_certificate.value.code() == grpc.StatusCode.UNAVAILABLE


def test_a_wrong_role_is_refused(mesh):
    with pytest.raises(grpc.RpcError) as refused:
        call(mesh.state()["head"], credentials(mesh, "monitor"), f"head.{mesh.cluster}.slmmesh")
    assert refused.value.code() == grpc.StatusCode.PERMISSION_DENIED


def test_admin_pages_want_a_certificate_and_probes_do_not(mesh):
    assert "slmmesh_" in mesh.admin_get("cpu-0", "/metrics")
    context = ssl.create_default_context(cafile=mesh.run_folder / "tls/admin/ca.crt")
    context.check_hostname = False

    def status(process, path):
        try:
            url = f"https://{mesh.admin_address(process)}{path}"
            return urllib.request.urlopen(url, context=context, timeout=10).status
        except urllib.error.HTTPError as error:
            return error.code

    for process in ("head", "cpu-0", "cpu-1", "router-0"):
        assert [status(process, path) for path in ("/healthz", "/readyz", "/metrics", "/table")] == [200, 200, 403, 403]


def test_api_keys(start_mesh, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("alpha:secret-a\nbeta:secret-b\n")
    mesh = start_mesh(size=1, router=f", apiKeysFile: {keys}")
    for key, status in [("secret-a", 200), ("secret-b", 200), ("wrong", 401), ("", 401)]:
        request = urllib.request.Request(mesh.url + "/v1/models", headers={"authorization": f"Bearer {key}"})
        try:
            assert urllib.request.urlopen(request, timeout=10).status == status
        except urllib.error.HTTPError as error:
            assert error.code == status
    # Prefixes are never shared between tenants.
    text = "A preface that is long enough to fill a few blocks of the cache. " * 6

    def cached(key):
        client = mesh.client(api_key=key)
        answer = client.chat.completions.create(model=NAME, messages=[{"role": "user", "content": text}], max_tokens=1)
        return answer.usage.prompt_tokens_details.cached_tokens

    assert cached("secret-a") == 0
    assert cached("secret-b") == 0
    assert cached("secret-a") > 0
    for process in ("router-0", "cpu-0", "head"):
        assert "secret-a" not in mesh.log(process) and "preface" not in mesh.log(process)


def test_an_artifact_with_a_wrong_digest_is_refused(tmp_path):
    from mesh import BUILD
    result = subprocess.run([BUILD / "bin/mesh-worker", f"--model={MODEL}", "--sha256=" + "0" * 64,
                             "--head=127.0.0.1:1", f"--tls-dir={tmp_path}", "--cluster=x"],
                            capture_output=True, text=True, timeout=60)
    assert result.returncode != 0
