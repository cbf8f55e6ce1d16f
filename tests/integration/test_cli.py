"""The programs as a person meets them."""

import subprocess

import pytest

from mesh import BUILD, mesh_command


@pytest.mark.parametrize("program", ["mesh", "mesh-head", "mesh-router", "mesh-worker"])
def test_help_and_unknown_knobs(program):
    help_run = subprocess.run([BUILD / "bin" / program, "--help"], capture_output=True, text=True, timeout=30)
    assert help_run.returncode in (0, 1) and program.split("-")[0] in help_run.stdout
    if program != "mesh":
        assert "--listen" in help_run.stdout.replace("_", "-") and "default" in help_run.stdout
    subcommand = ["status"] if program == "mesh" else []
    unknown = subprocess.run([BUILD / "bin" / program, *subcommand, "--frobnicate=1"], capture_output=True, text=True, timeout=30)
    assert unknown.returncode != 0 and "frobnicate" in unknown.stderr


def test_a_manifest_error_names_file_line_field_value_and_fix(tmp_path):
    manifest = tmp_path / "bad.yaml"
    manifest.write_text("apiVersion: slmmesh.io/v1alpha1\nkind: InferenceCluster\nmetadata: {name: x}\nspec:\n"
                        "  model: {servedName: a, path: b}\n  tensorParallelSize: 3\n")
    result = mesh_command("up", "-f", manifest)
    assert result.returncode == 1
    assert f"{manifest}:6: spec.tensorParallelSize: 3 is not a degree; write 1, 2, 4 or 8" in result.stderr


def test_a_model_that_is_not_there(tmp_path):
    manifest = tmp_path / "m.yaml"
    manifest.write_text("apiVersion: slmmesh.io/v1alpha1\nkind: InferenceCluster\nmetadata: {name: x}\nspec:\n"
                        "  model: {servedName: a, path: nowhere.gguf}\n  workerGroupSpecs: [{groupName: cpu}]\n")
    result = mesh_command("up", "-f", manifest)
    assert result.returncode == 1 and "nowhere.gguf does not exist" in result.stderr


def test_status_shows_processes_groups_and_routers(mesh):
    text = mesh.mesh("status").stdout
    for word in ("head", "cpu-0", "cpu-1", "router-0", "serving", "ready", "EPOCH", "RANK"):
        assert word in text


def test_chat_answers(mesh):
    result = mesh.mesh("chat", "--temperature", "0", "--max-tokens", "12", "-m", "What is the capital of France?")
    assert result.returncode == 0 and "Paris" in result.stdout


def test_logs(mesh):
    assert "head |" in mesh.mesh("logs", "head").stdout
    wrong = mesh.mesh("logs", "nobody")
    assert wrong.returncode == 1 and "known:" in wrong.stderr


def test_a_second_mesh_of_the_same_name_is_refused(mesh):
    result = mesh.mesh("up", "-f", mesh.folder / "mesh.yaml", "--detach")
    assert result.returncode == 1 and "mesh down" in result.stdout + result.stderr


def test_up_prints_an_address_and_a_curl_line_that_works(mesh):
    line = next(line for line in mesh.started.splitlines() if line.strip().startswith("curl "))
    result = subprocess.run(["bash", "-c", line + " -s"], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0 and '"choices"' in result.stdout


def test_down_leaves_nothing_running(start_mesh):
    mesh = start_mesh(size=1)
    pids = [process["pid"] for process in mesh.state()["processes"]]
    assert mesh.stop().returncode == 0
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            __import__("os").kill(pid, 0)
    assert mesh.mesh("status").returncode == 1
