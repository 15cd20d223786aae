"""What one component of each family costs to score and to sample, in few and in many columns.

Untrained components of the default size, in float64, in which tables are scored; "gaussian_mixture"
has 8 Gaussians. Times are medians of repeats in which the families take turns.

    python benchmarks/bench_family_costs.py
"""

import argparse
from functools import partial
from pathlib import Path

import report
import torch
from bench_speed import medians
from cells import warm_up

from skgbnf.flows import Architecture, family_names
from skgbnf.training.mixture import component_log_prob, sample_component

PAGE = Path(__file__).resolve().parent.parent / "docs" / "families.md"
COLUMNS = (4, 32)
TASKS = ("score", "sample")
N_ROWS = 10_000
N_GAUSSIANS = 8
UNIT = "nsf_coupling"


def main() -> None:
    torch.set_num_threads(1)
    warm_up()
    options = parse_arguments()
    runs = [
        {"n_features": d, "milliseconds": time_families(d, options.rows, options.repeats)}
        for d in COLUMNS
    ]
    results = {
        "machine": report.machine(),
        "setting": {"rows": options.rows, "repeats": options.repeats, "gaussians": N_GAUSSIANS},
        "runs": runs,
    }
    report.write(options.out, results)
    report.insert(options.page, "costs", section(results))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=N_ROWS)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=report.RESULTS / "bench_family_costs.json")
    parser.add_argument("--page", type=Path, default=PAGE)
    return parser.parse_args()


def time_families(n_features: int, n_rows: int, repeats: int) -> dict[str, dict[str, float]]:
    """Milliseconds to score and to sample so many rows, by family."""
    torch.manual_seed(0)
    rows = torch.randn(n_rows, n_features, dtype=torch.float64)
    scores, samples = {}, {}
    for kind in family_names():
        size = N_GAUSSIANS if kind == "gaussian_mixture" else 1
        component = Architecture(kind, n_features, n_components=size).build().double().eval()
        scores[kind] = partial(component_log_prob, component, rows)
        samples[kind] = partial(sample_component, component, n_rows, 0)
    return {"score": medians(scores, repeats), "sample": medians(samples, repeats)}


def section(results: dict) -> str:
    """The table of the page: times as multiples of scoring by one of the families."""
    runs, setting = results["runs"], results["setting"]
    times = [run["milliseconds"] for run in runs]
    units = [of_task["score"][UNIT] for of_task in times]
    columns = [f"{task}, {run['n_features']}" for run in runs for task in TASKS]
    lines = [
        f"Time to score and to sample {setting['rows']:,} rows of "
        f"{' and '.join(str(run['n_features']) for run in runs)} columns with one component of "
        f'the default size, in float64, as multiples of the time that "{UNIT}" takes to score '
        f"them, {' and '.join(f'{unit:.0f} ms' for unit in units)}. The Gaussian mixture has "
        f"{setting['gaussians']} Gaussians.",
        "",
        f"| family | {' | '.join(columns)} |",
        f"|---|{len(columns) * '---:|'}",
    ]
    for kind in times[0]["score"]:
        pairs = zip(times, units, strict=True)
        cells = [of_task[task][kind] / unit for of_task, unit in pairs for task in TASKS]
        lines.append(f'| "{kind}" | {" | ".join(f"{cell:.2f}" for cell in cells)} |')
    lines += ["", *report.closing_lines(results["machine"], "bench_family_costs")]
    return "\n".join(lines).strip()


if __name__ == "__main__":
    main()
