"""Write `docs/benchmarks.md` and its picture from what `bench_peers.py` measured.

    python benchmarks/make_report.py

Nothing in the page is written by hand: run it again after the measurements.
"""

import json
from pathlib import Path

import matplotlib as mpl
import numpy as np
import report
from peers import OURS
from summary import errors_in, methods_in, over_seeds

DOCS = Path(__file__).parent.parent / "docs"
PAGE, PICTURE = DOCS / "benchmarks.md", DOCS / "benchmarks.svg"
SOURCE = report.RESULTS / "bench_peers.json"
COLUMNS = 3

PREFACE = """# Benchmarks

Written by `benchmarks/make_report.py` from the JSON that `benchmarks/bench_peers.py` made.

Every method gets the same training and held-out rows and may train for {seconds:g} seconds on one
thread, {jobs}; some end earlier. Scores are mean log-likelihoods of test rows in nats, in the
units of the table, higher is better. "{ours} ahead" is the mean difference on the same test rows,
with its standard error over rows{and_seeds}. Seeds: {n_seeds}. With one,
differences between splits and between starts do not show in the errors.

How each method is trained stands in `benchmarks/peers.py` and `benchmarks/flow_peers.py`, which
columns are dropped as discrete or blurred in `benchmarks/data.py`.

Measured on {date}: {processor}, {cpu_count} processors, Python {python}, torch {torch},
zuko {zuko}, scikit-learn {scikit-learn}, skgbnf {skgbnf}.

![Held-out log-likelihood against seconds, a line for each method](benchmarks.svg)
"""


def main() -> None:
    results = json.loads(SOURCE.read_text())
    PAGE.write_text(page(results))
    draw(results)
    print(f"Written to {PAGE} and {PICTURE}.")


def page(results: dict) -> str:
    """The page as Markdown."""
    n_seeds = max(len(seeds) for seeds in results["cells"].values())
    jobs = results["setting"]["jobs"]
    preface = PREFACE.format(
        **results["machine"],
        seconds=results["setting"]["seconds"],
        jobs="one at a time" if jobs == 1 else f"{jobs} at a time",
        ours=OURS,
        and_seeds=" or over seeds, whichever is larger" if n_seeds > 1 else "",
        n_seeds=n_seeds,
    )
    return "\n".join([preface, *(section(results, name) for name in results["cells"])])


def section(results: dict, name: str) -> str:
    """One set: what it is, and a line for each method, the best first."""
    known = results["sets"][name]
    rows = known["rows"]
    lines = [
        f"## {name}\n",
        f"{rows['train']} training, {rows['held_out']} held-out and {rows['test']} test rows of "
        f"{known['columns']} columns; dropped: {len(known['dropped'])}, blurred: "
        f"{len(known['blurred'])}.\n",
        f"| method | score | {OURS} ahead | standard error | below the truth | seconds |",
        "|---|---|---|---|---|---|",
    ]
    scores = {m: over_seeds(results, name, m, "score") for m in methods_in(results)}
    ranked = sorted((m for m in scores if scores[m]), key=lambda m: -scores[m].value)
    lines += [line(results, name, method) for method in ranked]
    lines += [f"\n{m}, seed {s}: {e}." for n, s, m, e in errors_in(results) if n == name]
    return "\n".join(lines) + "\n"


def line(results: dict, name: str, method: str) -> str:
    score, ahead, gap, seconds = (
        over_seeds(results, name, method, key) for key in ("score", "ahead", "gap", "seconds")
    )
    cells = [
        f"**{method}**" if method == OURS else method,
        f"{score.value:.3f}",
        f"{ahead.value:+.3f}" if ahead else "",
        f"{ahead.error:.3f}" if ahead else "",
        f"{gap.value:.3f}" if gap else "",
        f"{seconds.value:.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def draw(results: dict) -> None:
    """Held-out log-likelihood of the first seed against seconds, one panel for each set."""
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    mpl.rcParams["svg.hashsalt"] = "skgbnf"
    names = list(results["cells"])
    n_lines = -(-len(names) // COLUMNS)
    figure, axes = plt.subplots(
        n_lines, COLUMNS, figsize=(12, 3.4 * n_lines), squeeze=False, layout="constrained"
    )
    for ax in axes.flat[len(names) :]:
        ax.axis("off")
    for ax, name in zip(axes.flat, names, strict=False):
        cells = next(iter(results["cells"][name].values()))
        for i, method in enumerate(methods_in(results)):
            curve = cells.get(method, {}).get("curve")
            if curve:
                strong = method == OURS
                ax.plot(
                    *zip(*curve, strict=True), label=method, color=f"C{i}", marker=".",
                    lw=2.5 if strong else 1, zorder=3 if strong else 2,
                )  # fmt: skip
        ax.set(title=name, xlabel="seconds", ylabel="held-out nats", ylim=visible(cells))
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5)
    figure.savefig(PICTURE, metadata={"Date": None})


def visible(cells: dict) -> tuple[float, float]:
    """Limits that show where the better methods end, not how badly they began."""
    ends = [cell["curve"][-1][1] for cell in cells.values() if cell.get("curve")]
    low, high = np.quantile(ends, [0.25, 1.0])
    margin = 0.25 * (high - low) + 0.01
    return low - margin, high + margin


if __name__ == "__main__":
    main()
