"""Tables of what `bench_peers.py` measured, for the report and for the README."""

from peers import OURS
from report import bold_best, table
from summary import Mean, methods_in, over_seeds

KINDS = {
    "file": "Real tables",
    "bundled": "Tables that scikit-learn ships",
    "known": "Known densities",
}
DIVERGED = -10_000.0
"""Mean log-likelihoods below this say only that a method failed, and are not printed."""

FRONT = (OURS, "GaussianMixture", "KernelDensity", "zuko NSF", "nflows NSF")
"""Methods of the table in the README."""


def sets_of(results: dict, kind: str) -> list[str]:
    """Sets of one kind that have scores, in the order in which they were run."""
    sets = results["sets"]
    return [name for name in results["cells"] if name in sets and sets[name]["kind"] == kind]


def scores_text(results: dict, kind: str) -> str:
    names, methods = sets_of(results, kind), methods_in(results)
    columns = [score_column(results, name, methods) for name in names]
    rows = [list(row) for row in zip(methods, *columns, strict=True)]
    known = [over_seeds(results, name, OURS, "truth") for name in names]
    if any(known):
        rows.append(["the density itself", *(f"{t.value:.3f}" if t else "" for t in known)])
    return (
        f"### {KINDS[kind]}\n\n"
        f"Mean test log-likelihood, the best in bold; below it how far `{OURS}` is ahead, and the "
        "standard error of that difference: of paired test rows or of seeds, whichever is larger."
        f"{diverged_text(columns)}\n\n" + table(["method", *names], rows)
    )


def diverged_text(columns: list[list[str]]) -> str:
    if not any("diverged" in column for column in columns):
        return ""
    return f' "diverged" is a mean below {DIVERGED:,.0f} nats.'


def score_column(results: dict, name: str, methods: list[str]) -> list[str]:
    """A cell for each method: its score on one set, and how far this package is ahead of it."""
    return [
        score if ahead is None or score == "diverged" else f"{score}<br>{signed(ahead)}"
        for method, score in bold_scores(results, name, methods).items()
        for ahead in [over_seeds(results, name, method, "ahead")]
    ]


def bold_scores(results: dict, name: str, methods: list[str]) -> dict[str, str]:
    """The score of each method on one set, with those that print as the best one in bold."""
    means = {method: over_seeds(results, name, method, "score") for method in methods}
    texts = {method: score_text(mean) for method, mean in means.items()}
    return bold_best({method: mean.value for method, mean in means.items() if mean}, texts)


def score_text(mean: Mean | None) -> str:
    if mean is None:
        return "-"
    return "diverged" if mean.value < DIVERGED else f"{mean.value:.3f}"


def signed(mean: Mean, digits: int = 3) -> str:
    return f"{mean.value:+.{digits}f} ± {mean.error:.{digits}f}"


def gaps_text(results: dict) -> str:
    names, methods = sets_of(results, "known"), methods_in(results)
    columns = [gap_column(results, name, methods) for name in names]
    return (
        "### Distance from the truth\n\nMean of log p - log q over test rows, where p is the known "
        "density and q the fitted one: an estimate of the Kullback-Leibler divergence, which is 0 "
        "for a perfect fit. The smallest is in bold.\n\n"
        + table(["method", *names], [list(row) for row in zip(methods, *columns, strict=True)])
    )


def gap_column(results: dict, name: str, methods: list[str]) -> list[str]:
    gaps = {method: over_seeds(results, name, method, "gap") for method in methods}
    texts = {m: f"{gap.value:.3f} ± {gap.error:.3f}" if gap else "-" for m, gap in gaps.items()}
    values = {method: gap.value for method, gap in gaps.items() if gap}
    return list(bold_best(values, texts, min).values())


def seconds_text(results: dict) -> str:
    tables = [seconds_table(results, kind) for kind in KINDS if sets_of(results, kind)]
    return (
        "### Seconds of training\n\nMeans over seeds. Methods may end early; one that is in the "
        "middle of a step when its time is up finishes that step.\n\n" + "\n\n".join(tables)
    )


def seconds_table(results: dict, kind: str) -> str:
    names, rows = sets_of(results, kind), []
    for method in methods_in(results):
        times = [over_seeds(results, name, method, "seconds") for name in names]
        rows.append([method, *(f"{t.value:.1f}" if t else "-" for t in times)])
    return table(["method", *names], rows)


def front_table(results: dict) -> str:
    """A line for each table of the comparison, a column for each method of the README."""
    methods = [method for method in FRONT if method in methods_in(results)]
    names = [*sets_of(results, "file"), *sets_of(results, "bundled")]
    rows = [[name, *bold_scores(results, name, methods).values()] for name in names]
    machine = results["machine"]
    return (
        f"{table(['table', *methods], rows)}\n\n"
        f"Measured on {machine['date']} with skgbnf {machine['skgbnf']}; means of "
        f"{max(len(seeds) for seeds in results['cells'].values())} seeds, best in bold."
    )
