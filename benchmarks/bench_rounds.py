"""How long each round of boosting takes.

The log-density of the mixture so far is cached for every row, so a round trains and scores one
component only, however many there are already: C rounds cost O(C). Every round here trains a
flow of the same size for the same number of epochs on the same rows; without held-out rows
nothing stops early.

    python benchmarks/bench_rounds.py --rounds 12
"""

import argparse
import contextlib
import io
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import report
from sklearn.datasets import make_blobs

from skgbnf import GradientBoostedFlowDensity


def main() -> None:
    options = parse_arguments()
    X = make_blobs(options.rows, options.columns, centers=12, random_state=0)[0]
    seconds = time_rounds(X, options.rounds, options.epochs)
    print_table(seconds)
    setting = {name: value for name, value in vars(options).items() if name != "out"}
    results = {"machine": report.machine(), "setting": setting, "seconds": seconds}
    report.write(options.out, results)
    print(f"Written to {options.out}.")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--columns", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--out", type=Path, default=report.RESULTS / "bench_rounds.json")
    return parser.parse_args()


class Stamps(io.TextIOBase):
    """A stream that notes when each line of a finished round was written."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def write(self, text: str) -> int:
        # A round is finished with its number of iterations; other lines tell what is being done.
        self.times += [time.perf_counter()] * text.count(" iterations")
        return len(text)


def time_rounds(X: np.ndarray, rounds: int, epochs: int) -> list[float]:
    """Seconds of each round of one call of fit, which prints a line when a round is done.

    The first entry also covers what fit does before it, such as checking the rows.
    """
    model = GradientBoostedFlowDensity(
        rounds, flow="nsf", n_transforms=2, max_iter=epochs, batch_size=500,
        validation_fraction=None, n_iter_no_change=rounds, tol=0.0, random_state=0, verbose=1,
    )  # fmt: skip
    stamps = Stamps()
    start = time.perf_counter()
    with contextlib.redirect_stdout(stamps):
        model.fit(X)
    if len(stamps.times) != rounds or set(model.staged_n_iter_) != {epochs}:
        sys.exit(
            f"{len(stamps.times)} of {rounds} rounds were run, of {model.staged_n_iter_} epochs: "
            f"give more than {epochs} epochs or more rows, so that every round gains."
        )
    return np.diff([start, *stamps.times]).tolist()


def print_table(seconds: list[float]) -> None:
    """Print each round's time and its ratio to that of round 2, the first with a cache to use."""
    print(f"{'round':>5}{'seconds':>10}{'ratio to round 2':>19}")
    for i, s in enumerate(seconds, start=1):
        print(f"{i:>5}{s:>10.2f}{s / seconds[min(1, len(seconds) - 1)]:>19.2f}")
    half = len(seconds) // 2
    if half:
        late, early = statistics.median(seconds[half:]), statistics.median(seconds[:half])
        print(f"median of the later half over median of the earlier half: {late / early:.2f}")


if __name__ == "__main__":
    main()
