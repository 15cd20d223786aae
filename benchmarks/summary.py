"""Means over seeds of what `bench_peers.py` measured, for its table and for the report."""

from dataclasses import dataclass

import numpy as np
from peers import METHODS, OURS

OVER_ALL_ROWS = {"score", "ahead", "gap"}


@dataclass(frozen=True)
class Mean:
    """A mean over seeds with two standard errors.

    Parameters
    ----------
    value : float

    rows : float
        From the spread over test rows within each seed.

    seeds : float
        From the spread over seeds, which covers other splits and other starts too; NaN for one
        seed.

    n : int
        Number of seeds.
    """

    value: float
    rows: float
    seeds: float
    n: int

    @property
    def error(self) -> float:
        """The larger of the two."""
        return float(np.nanmax([self.rows, self.seeds]))


def over_seeds(results: dict, name: str, method: str, key: str) -> Mean | None:
    """The mean of one entry of a method's cells on one set; None where there is none.

    A method with a density of zero at test rows of any seed has no mean score.
    """
    cells = [seeds.get(method, {}) for seeds in results["cells"][name].values()]
    if key in OVER_ALL_ROWS and any("zero_share" in cell for cell in cells):
        return None
    values = np.array([cell[key] for cell in cells if key in cell])
    if not len(values):
        return None
    errors = np.array([cell.get(f"{key}_error", np.nan) for cell in cells if key in cell])
    n = len(values)
    spread = values.std(ddof=1) / np.sqrt(n) if n > 1 else np.nan
    return Mean(float(values.mean()), float(np.sqrt((errors**2).sum()) / n), float(spread), n)


def methods_in(results: dict) -> list[str]:
    """Methods that have cells, in the order in which they are always named."""
    present = {
        method
        for seeds in results["cells"].values()
        for cells in seeds.values()
        for method in cells
    }
    return [method for method in METHODS if method in present]


def errors_in(results: dict) -> list[tuple[str, str, str, str]]:
    """Set, seed, method and error of each cell that failed."""
    return [
        (name, seed, method, cell["error"])
        for name, seeds in results["cells"].items()
        for seed, cells in seeds.items()
        for method, cell in cells.items()
        if "error" in cell
    ]


def zeros_in(results: dict) -> list[tuple[str, str, str, str]]:
    """Set, seed, method and outcome where a method has a density of zero at rows of any seed."""
    cells = [
        (name, seed, method, cell)
        for name, seeds in results["cells"].items()
        for seed, of_methods in seeds.items()
        for method, cell in of_methods.items()
        if "error" not in cell
    ]
    concerned = {(name, method) for name, _, method, cell in cells if "zero_share" in cell}
    return [
        (name, seed, method, zeros_text(cell))
        for name, seed, method, cell in cells
        if (name, method) in concerned
    ]


def zeros_text(cell: dict) -> str:
    share, mean = cell.get("zero_share", 0.0), cell.get("others", cell.get("score"))
    return f"{100 * share:.2f} % of test rows at -inf, {mean:.4f} nats on the others"


def print_peers(results: dict) -> None:
    """Print a line for each set and method.

    Beside the mean score stands how far this package is ahead, with its standard errors over
    test rows and over seeds.
    """
    header = f"{'set':<17}{'method':<22}{'score':>10}{OURS + ' ahead':>15}"
    print(f"\n{header}{'+- rows':>9}{'+- seeds':>10}{'gap':>9}{'seconds':>9}{'seeds':>7}")
    for name in results["cells"]:
        for method in methods_in(results):
            score = over_seeds(results, name, method, "score")
            if score is None:
                continue
            ahead = over_seeds(results, name, method, "ahead")
            gap = over_seeds(results, name, method, "gap")
            seconds = over_seeds(results, name, method, "seconds")
            columns = (
                f"{ahead.value:>+15.4f}{ahead.rows:>9.4f}{ahead.seeds:>10.4f}"
                if ahead
                else " " * 34
            )
            gap_text = f"{gap.value:>9.4f}" if gap else " " * 9
            print(
                f"{name:<17}{method:<22}{score.value:>10.4f}{columns}{gap_text}"
                f"{seconds.value:>9.1f}{score.n:>7}"
            )
    for line in zeros_in(results) + errors_in(results):
        print(", ".join(line))
