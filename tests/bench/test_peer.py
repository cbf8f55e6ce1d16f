"""What is pure in make bench-peer: the report's arithmetic, what the command line refuses, when a machine is idle."""

import io
import json
import pathlib
import subprocess
import sys
import types

import peer
import peer_idle
import peer_models
import peer_report
import peer_serve
import peer_sides
import pytest


def sample(speed, quiet=True, **figures):
    return {"tokens_per_second": speed, "quiet": quiet, **figures}


def row(*pairs, step="decode-1", form="q8_0", model="random"):
    named = [{"slm-mesh": ours, "llama.cpp": other} for ours, other in pairs]
    return {"model": model, "format": form, "step": step, "pairs": named}


def test_a_ratio_is_the_median_over_pairs_and_not_the_ratio_of_medians():
    measured = row((sample(10), sample(1)), (sample(20), sample(10)), (sample(30), sample(5)))
    assert peer_report.ratio(measured, "tokens_per_second") == 6  # of 10, 2, 6
    assert peer_report.median(measured, "slm-mesh", "tokens_per_second") == 20
    assert peer_report.median(measured, "llama.cpp", "tokens_per_second") == 5


def test_of_an_even_number_of_pairs_the_middle_of_two():
    measured = row((sample(10), sample(10)), (sample(10), sample(5)))
    assert peer_report.ratio(measured, "tokens_per_second") == 1.5


def test_what_was_not_measured_is_a_dash():
    measured = row((sample(10), sample(0)))
    assert peer_report.ratio(measured, "tokens_per_second") is None
    assert peer_report.median(measured, "slm-mesh", "percent_of_read") is None
    assert peer_report.step_line(measured) == ["q8_0", "decode-1", "10.0", "0.0", "-", "- / -", "- / -", ""]


def test_a_line_of_a_step():
    ours = sample(30, percent_of_read=91.4, percent_of_peak=2.6)
    other = sample(20, quiet=False, percent_of_read=60, percent_of_peak=1)
    line = peer_report.step_line(row((ours, other)))
    assert line == ["q8_0", "decode-1", "30.0", "20.0", "1.50", "91 / 3", "60 / 1", "1 of 2"]
    assert peer_report.short(row((ours, other))) == "slm-mesh 30.0, llama.cpp 20.0: 1.50 (disturbed 1 of 2)"


def test_a_line_of_servers_has_ratios_of_speed_and_of_the_first_token():
    figures = {figure: 10.0 for figure in peer_serve.FIGURES}
    ours, other = {**figures, "quiet": True}, {**figures, "quiet": True, "output_tokens_per_second": 4.0,
                                               "ttft_p50_ms": 40.0}
    measured = row((ours, other), step="serve-8")
    assert peer_report.serve_line(measured)[:4] == ["q8_0", "8", "10.0 / 4.0 = 2.50", "10.0 / 40.0 = 0.25"]
    assert peer_report.speed_figure(measured) == "output_tokens_per_second"
    assert "2.50" in peer_report.short(measured)


def test_a_busy_line_stands_beside_the_same_step_of_a_quiet_machine():
    quiet = row((sample(40), sample(20)))
    others = [row((sample(1), sample(1)), form="bf16"), row((sample(1), sample(1)), model="smollm2")]
    busy = row((sample(30), sample(5)), step="decode-1-busy")
    line = peer_report.busy_line(busy, [*others, quiet, busy])
    assert line == ["q8_0", "decode-1", "40.0", "30.0", "75", "20.0", "5.0", "25", "6.00"]
    assert peer_report.busy_line(busy, [busy]) == ["q8_0", "decode-1", "-", "30.0", "-", "-", "5.0", "-", "6.00"]


def test_a_table_for_each_model_and_kind(capsys):
    figures = {figure: 10.0 for figure in peer_serve.FIGURES}
    served = row(({**figures, "quiet": True}, {**figures, "quiet": True}), step="serve-1")
    peer_report.show([row((sample(3), sample(2))), served, row((sample(3), sample(2)), step="decode-1-busy"),
                      row((sample(3), sample(2)), model="smollm2")])
    printed = capsys.readouterr().out
    titles = [line for line in printed.splitlines() if line.startswith("##")]
    assert [title.split(":")[0] for title in titles] == ["## random", "## random", "## random", "## smollm2"]
    for block in printed.strip().split("\n\n## "):
        lines = [line for line in block.splitlines() if line.startswith("|")]
        assert len({line.count("|") for line in lines}) == 1, block  # as many fields as the head has


def test_the_peers_shares_of_the_ceiling(tmp_path):
    file = tmp_path / "model.gguf"
    file.write_bytes(bytes(500))
    probe = {"peak_operations_per_second": {"bf16": 4000, "int8": 8000}, "read_bytes_per_second": 10000}
    measured = {"kind": "decode", "count": 2, "tokens_per_second": 10, "probe": probe}  # a step takes 0.2 s
    for form, share in (("bf16", 50), ("q8_0", 25)):
        shares = dict(measured)
        peer_sides.add_ceiling(shares, 400, file, form)
        assert shares["percent_of_peak"] == pytest.approx(share)
        assert shares["percent_of_read"] == pytest.approx(25)
        assert "probe" not in shares
    prefill = {**measured, "kind": "prefill"}
    peer_sides.add_ceiling(prefill, 400, file, "bf16")
    assert "percent_of_read" not in prefill


def test_what_a_program_said_of_its_failure_is_shown():
    with pytest.raises(SystemExit, match="exit 3\nno such model"):
        peer_sides.run([sys.executable, "-c", "import sys; print('no such model', file=sys.stderr); sys.exit(3)"])


@pytest.mark.parametrize("tokens, is_said", [(8, True), (7, False)])
def test_a_server_that_gives_too_few_tokens_is_refused(monkeypatch, tokens, is_said):
    said = {"output_tokens_per_second": tokens / 2, "wall_seconds": 2}
    ended = types.SimpleNamespace(returncode=0, stdout=json.dumps(said))
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: ended)
    if is_said:
        assert peer_serve.load(pathlib.Path("."), "http://x", 1, 2, 4, seed=1) == said
        return
    with pytest.raises(SystemExit, match="7 tokens came of 2 requests of 4 each"):
        peer_serve.load(pathlib.Path("."), "http://x", 1, 2, 4, seed=1)


@pytest.mark.parametrize("flag, value, known", [("--format", "q5_0", peer_models.FORMATS),
                                                ("--only", "decode-3", [*peer.STEPS, *peer.SERVE, "decode-1-busy"]),
                                                ("--model", "llama", ["random", "smollm2"])])
def test_unknown_values_are_refused_by_name(monkeypatch, capsys, flag, value, known):
    monkeypatch.setattr(sys, "argv", ["peer.py", flag, value])
    with pytest.raises(SystemExit) as refused:
        peer.parse()
    said = capsys.readouterr().err
    assert refused.value.code == 2
    assert flag in said and value in said and all(name in said for name in known)


def test_known_values_add_up(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["peer.py", "--only", "serve-8", "--only", "decode-1", "--format", "bf16"])
    options = peer.parse()
    assert (options.only, options.format, options.model) == (["serve-8", "decode-1"], ["bf16"], None)


def test_undisturbed_pairs_come_first_and_tries_are_bounded():
    def taken(asked, quiets):
        tries = iter(enumerate(quiets))

        def take(index):
            number, quiet = next(tries)
            assert index == number
            return {"slm-mesh": sample(index), "llama.cpp": sample(index, quiet=quiet)}

        pairs = peer.Comparison.pairs(types.SimpleNamespace(options=types.SimpleNamespace(pairs=asked)), take)
        return [pair["slm-mesh"]["tokens_per_second"] for pair in pairs]

    assert taken(2, [True, True]) == [0, 1]
    assert taken(2, [False, True, True]) == [1, 2]
    assert taken(2, [False, True, False, False]) == [1, 0]
    assert taken(1, [False, False]) == [0]


def stat(**ticks):
    names = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "guest", "guest_nice"]
    return "cpu  " + " ".join(str(ticks.get(name, 0)) for name in names) + "\ncpu0 1 2 3\n"


def test_time_that_a_hypervisor_took_is_not_idle(monkeypatch):
    monkeypatch.setattr(peer_idle, "TICKS_PER_SECOND", 100)
    text = stat(user=100, nice=50, system=50, idle=600, iowait=50, steal=150, guest=70)  # guest is part of user
    monkeypatch.setattr(peer_idle, "open", lambda path: io.StringIO(text), raising=False)
    assert peer_idle.processor_seconds() == (6.5, 10)


class Machine:
    """Its clock and counters go on by a second, of which a share is idle, where the program waits for one."""

    def __init__(self, monkeypatch, shares):
        self.now, self.idle, self.shares = 0, 0.0, shares
        monkeypatch.setattr(peer_idle.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(peer_idle.threading, "Event", lambda: self)
        monkeypatch.setattr(peer_idle, "processor_seconds", lambda: (self.idle, 2.0 * self.now))

    def wait(self, seconds):
        self.idle += 2 * self.shares[self.now]
        self.now += seconds


@pytest.mark.parametrize("shares, is_idle, waited", [([1.0], True, 1), ([0.95], True, 1), ([0.85, 0.5, 0.95], True, 3),
                                                     ([0.85] * 5, False, 5)])
def test_waits_for_an_idle_second_as_long_as_it_may(monkeypatch, shares, is_idle, waited):
    machine = Machine(monkeypatch, shares)
    assert peer_idle.wait_until_idle(5) == is_idle
    assert machine.now == waited


@pytest.mark.parametrize("idle_before, others, is_quiet", [(True, 0.0, True), (True, 0.05, True), (True, 0.2, False),
                                                           (False, 0.0, False)])
def test_a_sample_is_quiet_when_nobody_else_worked(monkeypatch, idle_before, others, is_quiet):
    counters = iter([(100.0, 200.0), (100.0 + 20 * (0.5 - others), 220.0)])  # we took half of the time
    own = iter([7.0, 17.0])
    monkeypatch.setattr(peer_idle, "wait_until_idle", lambda seconds: idle_before)
    monkeypatch.setattr(peer_idle, "processor_seconds", lambda: next(counters))
    monkeypatch.setattr(peer_idle, "own_seconds", lambda pids: next(own))
    measured = {}
    with peer_idle.watched(measured, 1):
        pass
    assert measured["others_share"] == pytest.approx(others)
    assert measured["quiet"] == is_quiet
