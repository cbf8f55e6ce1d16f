"""Tables, JSON and a plot of what peer.py measured.

A row: {"model", "format", "step", "pairs": [{"slm-mesh": sample, "llama.cpp": sample}, …]}. The samples of a pair were
taken one after the other; ratios are medians over pairs."""

import statistics

OURS, PEER = "slm-mesh", "llama.cpp"
LESS_IS_BETTER = ("ttft", "itl")


def median(row, side, figure):
    values = [pair[side][figure] for pair in row["pairs"] if figure in pair[side]]
    return statistics.median(values) if values else None


def ratio(row, figure):
    """Ours over the peer's; above 1 is better for us but for times."""
    values = [pair[OURS][figure] / pair[PEER][figure] for pair in row["pairs"] if pair[PEER][figure]]
    return statistics.median(values) if values else None


def speed_figure(row):
    return "output_tokens_per_second" if row["step"].startswith("serve") else "tokens_per_second"


def text(value, digits=1):
    return "-" if value is None else f"{value:.{digits}f}"


def short(row):
    """Of each side every pair's tokens/s, and the ratio."""
    figure = speed_figure(row)
    sides = [f"{side} " + " ".join(text(pair[side][figure]) for pair in row["pairs"]) for side in (OURS, PEER)]
    return f"{', '.join(sides)}: {text(ratio(row, figure), 2)} {disturbed(row) and '(disturbed ' + disturbed(row) + ')'}"


def disturbed(row):
    """How many samples were taken while other programs took part of the machine."""
    samples = [sample for pair in row["pairs"] for sample in pair.values()]
    busy = sum(not sample["quiet"] for sample in samples)
    return f"{busy} of {len(samples)}" if busy else ""


def table(title, head, lines):
    print(f"\n## {title}\n\n| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for line in lines:
        print("| " + " | ".join(line) + " |")


def step_line(row):
    shares = [f"{text(median(row, side, 'percent_of_read'), 0)} / {text(median(row, side, 'percent_of_peak'), 0)}"
              for side in (OURS, PEER)]
    return [row["format"], row["step"], text(median(row, OURS, "tokens_per_second")),
            text(median(row, PEER, "tokens_per_second")), text(ratio(row, "tokens_per_second"), 2), *shares,
            disturbed(row)]


def serve_line(row):
    line = [row["format"], row["step"].removeprefix("serve-")]
    for figure in ("output_tokens_per_second", "ttft_p50_ms", "ttft_p99_ms", "itl_p50_ms", "itl_p99_ms", "itl_max_ms"):
        line.append(f"{text(median(row, OURS, figure))} / {text(median(row, PEER, figure))}")
    line[2] += f" = {text(ratio(row, 'output_tokens_per_second'), 2)}"
    line[3] += f" = {text(ratio(row, 'ttft_p50_ms'), 2)}"
    return [*line, disturbed(row)]


def busy_line(row, rows):
    """Beside the same step without a busy core."""
    quiet = next((other for other in rows if other["model"] == row["model"] and other["format"] == row["format"] and
                  other["step"] == row["step"].removesuffix("-busy")), None)
    line = [row["format"], row["step"].removesuffix("-busy")]
    for side in (OURS, PEER):
        speed = median(row, side, "tokens_per_second")
        without = median(quiet, side, "tokens_per_second") if quiet else None
        line += [text(without), text(speed), text(100 * speed / without if without else None, 0)]
    return [*line, text(ratio(row, "tokens_per_second"), 2)]


def show(rows):
    for model in dict.fromkeys(row["model"] for row in rows):
        mine = [row for row in rows if row["model"] == model]
        steps = [row for row in mine if not row["step"].startswith("serve") and not row["step"].endswith("-busy")]
        if steps:
            table(f"{model}: steps, tokens/s (shares: percent of read / of peak)",
                  ["format", "step", OURS, PEER, "ratio", f"{OURS} %", f"{PEER} %", "disturbed"], map(step_line, steps))
        served = [row for row in mine if row["step"].startswith("serve")]
        if served:
            table(f"{model}: servers, {OURS} / {PEER} (127 tokens in, 128 out)",
                  ["format", "streams", "output tok/s", "first token p50 ms", "p99 ms", "inter-token p50 ms", "p99 ms",
                   "max ms", "disturbed"], map(serve_line, served))
        busy = [row for row in mine if row["step"].endswith("-busy")]
        if busy:
            table(f"{model}: one core kept busy by another program, tokens/s",
                  ["format", "step", f"{OURS} alone", "busy", "kept %", f"{PEER} alone", "busy", "kept %", "ratio busy"],
                  [busy_line(row, mine) for row in busy])


def plot(rows, title, path):
    """Ratios of tokens/s as bars: a panel a model, a colour a format."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    models = list(dict.fromkeys(row["model"] for row in rows))
    figure, panels = pyplot.subplots(len(models), 1, figsize=(12, 4.5 * len(models)), squeeze=False)
    for model, panel in zip(models, panels[:, 0]):
        mine = [row for row in rows if row["model"] == model]
        steps = list(dict.fromkeys(row["step"] for row in mine))
        formats = list(dict.fromkeys(row["format"] for row in mine))
        for index, form in enumerate(formats):
            found = [(steps.index(row["step"]), ratio(row, speed_figure(row))) for row in mine if row["format"] == form]
            places = [place + (index - (len(formats) - 1) / 2) * 0.8 / len(formats) for place, _ in found]
            bars = panel.bar(places, [value for _, value in found], 0.8 / len(formats), label=form)
            panel.bar_label(bars, fmt="%.1f", fontsize=7)
        panel.axhline(1, color="black", linewidth=1)
        panel.set_xticks(range(len(steps)), steps, rotation=20)
        panel.set_ylabel(f"tokens/s, {OURS} / {PEER}")
        panel.set_title(model)
        panel.legend()
    figure.suptitle(title, fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
