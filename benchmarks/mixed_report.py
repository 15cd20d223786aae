"""The section of `docs/benchmarks.md` on tables of categories, numbers and gaps."""

import numpy as np
import report
from bench_mixed import (
    GAPS_HEADER,
    HIDDEN_SHARE,
    MEASURES,
    MOST_COMPLETED,
    cells_of,
    gap_rows,
    values_text,
)
from mixed_peers import METHODS
from mixed_tables import DROPPED, TEST_SHARE
from peers import OURS
from summary import errors_in

TITLES = {
    "score": "Log-densities of test rows",
    "ahead": f"How far `{OURS}` is ahead",
    "score_complete": "Log-densities of complete test rows",
    "zero_share": "Shares of test rows with a density of zero",
    "floored": "Log-densities with the lowest other one in place of -inf",
    "auc": "Samples told from test rows",
    "log_score": "Log-densities of hidden cells",
    "rmse": "Errors of hidden numbers",
    "accuracy": "Accuracy of hidden categories",
    "seconds": "Seconds of training",
}
NOTES = {
    "ahead": "On rows where both have a density above zero.",
    "zero_share": "Methods that are not named have none.",
    "auc": "Area under the ROC curve of gradient-boosted trees, cross-validated; 0.5 is chance. "
    "Vines have no gaps and stand beside complete rows.",
    "log_score": "Given the rest of the row, for each hidden cell.",
    "rmse": "Root mean squared error, in standard deviations of the columns.",
}
COMPARED = ("score", "score_complete", "auc", "log_score", "rmse", "accuracy")
LOWER_IS_BETTER = {"rmse", "auc"}
SINGLE = [method for method in METHODS if "half" not in method]


def mixed_section(results: dict) -> str:
    parts = [
        "## Tables of categories, numbers and gaps",
        setting_text(results),
        tables_text(results),
        *(measure_text(results, key) for key in TITLES),
        verdict_text(results),
        gaps_text(results),
        errors_text(results),
    ]
    return "\n\n".join(part for part in parts if part)


def setting_text(results: dict) -> str:
    setting = results["setting"]
    seeds = {seed for cells in results["cells"].values() for seed in cells}
    return (
        f"{report.machine_text(results['machine'])}\n\n"
        f"{100 * (1 - TEST_SHARE):.0f} % of the rows train, seeds: {len(seeds)}. `{OURS}` has "
        f"default parameters and `max_time={setting['seconds']:g}`, latent classes twice that; "
        "[mixed_peers.py](../benchmarks/mixed_peers.py) says what the others do. Kinds and levels "
        "of columns are taken from the whole table for all methods; log-densities, in nats, are "
        "with respect to counting for categories, ordinal values and atoms and to length for other "
        "numbers, and those of rows with gaps are of the cells that are there. For completions "
        f"{100 * HIDDEN_SHARE:.0f} % of the cells of test rows are hidden, {MOST_COMPLETED:,} rows "
        "at most."
    )


def tables_text(results: dict) -> str:
    rows = [
        [
            name, " / ".join(str(n) for n in found["rows"].values()),
            ", ".join(f"{n} {kind}" for kind, n in found["kinds"].items()),
            f"{100 * found['gaps']:.1f} %", left_out(name),
        ]
        for name, found in results["tables"].items()
    ]  # fmt: skip
    return report.table(["table", "training / test rows", "columns", "missing", "left out"], rows)


def left_out(name: str) -> str:
    return "; ".join(f"{column} ({reason})" for column, reason in DROPPED.get(name, {}).items())


def measure_text(results: dict, key: str) -> str:
    """One measure: methods that have it by tables."""
    names = list(results["cells"])
    columns = [texts_of(results, name, key) for name in names]
    methods = [method for method in SINGLE if any(column[method] for column in columns)]
    rows = [[method, *(column[method] or "-" for column in columns)] for method in methods]
    if not rows:
        return ""
    note = f"{NOTES[key]}\n\n" if key in NOTES else ""
    return f"### {TITLES[key]}\n\n{note}{report.table(['method', *names], rows)}"


def texts_of(results: dict, name: str, key: str) -> dict[str, str]:
    """What methods have on one table, the best in bold; empty where they have nothing."""
    texts = {}
    for method in SINGLE:
        cells = cells_of(results, name, method)
        texts[method] = values_text(cells, key, MEASURES[key]) if cells else ""
    if key not in COMPARED:
        return texts
    best = min if key in LOWER_IS_BETTER else max
    return report.bold_best(means_of(results, name, key), texts, best)


def means_of(results: dict, name: str, key: str) -> dict[str, float]:
    """Means over seeds of the methods that have a measure on a table."""
    values = {
        method: [cell.get(key) for cell in cells_of(results, name, method)] for method in SINGLE
    }
    return {
        method: float(np.mean(own)) for method, own in values.items() if own and None not in own
    }


def verdict_text(results: dict) -> str:
    """On how many tables this package is best, by each measure."""
    rows = []
    for key in COMPARED:
        outcomes = [is_best(results, name, key) for name in results["cells"]]
        known = [outcome for outcome in outcomes if outcome is not None]
        if known:
            rows.append([TITLES[key], f"{sum(known)} of {len(known)}"])
    if not rows:
        return ""
    return f"### Best of all\n\n{report.table(['measure', f'tables where `{OURS}` is'], rows)}"


def is_best(results: dict, name: str, key: str) -> bool | None:
    """Whether no method has a better mean on a table; None where there is no other."""
    means = means_of(results, name, key)
    if OURS not in means or len(means) < 2:
        return None
    best = min if key in LOWER_IS_BETTER else max
    return means[OURS] == best(means.values())


def gaps_text(results: dict) -> str:
    rows = gap_rows(results)
    if not rows:
        return ""
    return (
        "### Half of the training cells hidden\n\nLog-densities of test rows after fits to all "
        "cells, to half of them, and to these with means and most frequent categories in the gaps; "
        "what the second loses, over what the third loses.\n\n" + report.table(GAPS_HEADER, rows)
    )


def errors_text(results: dict) -> str:
    lines = "\n".join(f"* {', '.join(error)}" for error in errors_in(results))
    return f"### Without an answer\n\n{lines}" if lines else ""
