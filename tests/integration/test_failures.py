"""What breaks, breaks cleanly: nothing hangs, and the mesh comes back."""

import signal

import openai
import pytest

from mesh import NAME, metric_sum, wait_for

ONE_TOKEN = dict(temperature=0, max_tokens=1)
ENDLESS = dict(temperature=0, max_tokens=1500, stream=True, extra_body={"ignore_eos": True})


def ready_group(mesh, after_epoch=0):
    def check():
        for group in mesh.groups().values():
            if group["state"] == "GROUP_STATE_READY" and int(group["epoch"]) > after_epoch:
                return group
        return None
    return wait_for(check, f"a ready group after epoch {after_epoch}")


def test_serving_goes_on_without_the_head_and_a_new_head_rebuilds_the_table(start_mesh):
    mesh = start_mesh()
    before = ready_group(mesh)
    old_head = mesh.pid("head")
    mesh.kill("head")
    assert mesh.ask("hello", **ONE_TOKEN).choices
    wait_for(lambda: mesh.pid("head") not in (0, old_head), "a new head process")
    after = ready_group(mesh)
    assert (after["groupId"], after["epoch"], after["workerIds"]) == (before["groupId"], before["epoch"], before["workerIds"])
    assert mesh.ask("hello", **ONE_TOKEN).choices


@pytest.mark.parametrize("victim", ["cpu-0", "cpu-1"])
def test_a_dead_worker_ends_its_streams_and_is_replaced_in_its_rank(start_mesh, victim):
    mesh = start_mesh()
    before = ready_group(mesh)
    survivor = "cpu-1" if victim == "cpu-0" else "cpu-0"
    loads = metric_sum(mesh.metrics(survivor), "slmmesh_worker_model_loads_total")
    stream = mesh.ask("Count from one to one thousand.", **ENDLESS)
    next(iter(stream))
    mesh.kill(victim)
    with pytest.raises(openai.APIError):
        for _ in stream:
            pass
    after = ready_group(mesh, after_epoch=int(before["epoch"]))
    assert after["workerIds"] == before["workerIds"]
    assert metric_sum(mesh.metrics(survivor), "slmmesh_worker_model_loads_total") == loads == 1

    def answers():
        try:
            return mesh.ask("What is the capital of France?", temperature=0, max_tokens=8).choices[0].message.content
        except openai.APIError:
            return None
    assert "Paris" in wait_for(answers, "an answer from the new epoch")


@pytest.mark.parametrize("victim", ["cpu-0", "cpu-1"])
def test_an_orderly_stop_of_a_rank_cuts_no_stream(start_mesh, victim):
    mesh = start_mesh()
    before = ready_group(mesh)
    stream = iter(mesh.ask("Count from one to one thousand.", **{**ENDLESS, "max_tokens": 24}))
    next(stream)
    mesh.kill(victim, signal.SIGTERM)
    assert list(stream)[-1].choices[0].finish_reason == "length"
    after = ready_group(mesh, after_epoch=int(before["epoch"]))
    assert after["workerIds"] == before["workerIds"]


def test_a_client_that_goes_away_frees_its_blocks(start_mesh):
    mesh = start_mesh()
    stream = mesh.ask("Count from one to one thousand.", **ENDLESS)
    next(iter(stream))
    wait_for(lambda: int(ready_group(mesh)["load"]["kvBlocksUsed"]) > 0, "blocks in use")
    stream.close()
    wait_for(lambda: int(ready_group(mesh)["load"]["kvBlocksUsed"]) == 0, "no block in use", timeout=20)


def test_a_dead_router_comes_back_at_its_address(start_mesh):
    mesh = start_mesh(router="")
    old = mesh.pid("router-0")
    mesh.kill("router-0")
    wait_for(lambda: mesh.pid("router-0") not in (0, old), "a new router process")
    wait_for(lambda: mesh.addresses("router-0").get("http"), "its address")
