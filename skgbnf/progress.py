"""What a fit tells of its progress: nothing, lines, or bars on a terminal.

Those who fit know a callable that is told of each epoch, and nothing of this.
"""

import math
import multiprocessing
import sys
import time


class Progress:
    """Tells nothing; the interface of the other two."""

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def epoch(self, n_iter: int, max_iter: int, score: float) -> None:
        """Take note of an epoch: its number, the largest, and the best score so far."""

    def round(self, n_rounds: int, n_iter: int, train: float, held_out: float | None) -> None:
        """Take note of a finished round: its number, its epochs and the scores after it."""

    def begin_pass(self, number: int, n_passes: int) -> None:
        """Take note that a pass of fine-tuning begins."""

    def end_pass(self, train: float, held_out: float | None) -> None:
        """Take note of the scores after it."""

    def close(self) -> None:
        """End what was begun."""


class Lines(Progress):
    """A line for each round and each pass of fine-tuning and, if wanted, for each epoch.

    Parameters
    ----------
    n_rounds : int
        Largest number of rounds.

    n_done : int
        Rounds there were before.

    log_det : float
        What turns scores of epochs to the units of X.

    seconds : float
        Time after which the fit ends in any case.

    every_epoch : bool
    """

    def __init__(
        self, n_rounds: int, n_done: int, log_det: float, seconds: float, every_epoch: bool
    ) -> None:
        self._n_rounds, self._n_before, self._n_done = n_rounds, n_done, n_done
        self._log_det, self._every_epoch = log_det, every_epoch
        self._what = f"round {n_done + 1}/{n_rounds}"
        self._start = self._part_start = time.perf_counter()
        self._deadline = self._start + seconds

    def epoch(self, n_iter: int, max_iter: int, score: float) -> None:
        if self._every_epoch:
            self._print(f"epoch {n_iter}/{max_iter}, {score + self._log_det:.4f} nats")

    def round(self, n_rounds: int, n_iter: int, train: float, held_out: float | None) -> None:
        now = time.perf_counter()
        text = f"{scores(train, held_out)} nats, {n_iter} iterations"
        text += f", {now - self._part_start:.1f} s"
        self._n_done, self._part_start = n_rounds, now
        if n_rounds < self._n_rounds:
            text += f", at most about {self._seconds_left(now):.0f} s left"
        self._print(text)
        self._what = f"round {n_rounds + 1}/{self._n_rounds}"

    def begin_pass(self, number: int, n_passes: int) -> None:
        self._what, self._part_start = f"fine-tuning {number}/{n_passes}", time.perf_counter()

    def end_pass(self, train: float, held_out: float | None) -> None:
        seconds = time.perf_counter() - self._part_start
        self._print(f"{scores(train, held_out)} nats, {seconds:.1f} s")

    def _seconds_left(self, now: float) -> float:
        per_round = (now - self._start) / max(self._n_done - self._n_before, 1)
        left = per_round * (self._n_rounds - self._n_done)
        return max(min(left, self._deadline - now), 0.0)

    def _print(self, text: str) -> None:
        print(f"[skgbnf] {self._what}: {text}", flush=True)


class Bars(Progress):
    """A bar of rounds and one of the epochs of a component, by tqdm, with the time left.

    Parameters
    ----------
    bar : callable
        ``tqdm.tqdm``.

    n_rounds, n_done, log_det
        As of :class:`Lines`.
    """

    def __init__(self, bar, n_rounds: int, n_done: int, log_det: float) -> None:
        self._bar, self._n_rounds, self._n_done = bar, n_rounds, n_done
        self._log_det = log_det

    def __enter__(self) -> "Bars":
        self._rounds = self._bar(
            total=self._n_rounds, initial=self._n_done, desc="rounds", dynamic_ncols=True
        )
        self._epochs = self._bar(total=1, desc="epochs", dynamic_ncols=True, leave=False)
        return self

    def epoch(self, n_iter: int, max_iter: int, score: float) -> None:
        if n_iter <= self._epochs.n or max_iter != self._epochs.total:
            self._epochs.reset(total=max_iter)
        self._epochs.set_postfix_str(f"{score + self._log_det:.4f} nats", refresh=False)
        self._epochs.update(n_iter - self._epochs.n)

    def round(self, n_rounds: int, n_iter: int, train: float, held_out: float | None) -> None:
        self._rounds.set_postfix_str(f"{scores(train, held_out)} nats", refresh=False)
        self._rounds.update(n_rounds - self._rounds.n)

    def begin_pass(self, number: int, n_passes: int) -> None:
        self._epochs.set_description(f"fine-tuning {number}/{n_passes}", refresh=False)

    def end_pass(self, train: float, held_out: float | None) -> None:
        self._rounds.set_postfix_str(f"{scores(train, held_out)} nats")

    def close(self) -> None:
        self._epochs.close()
        self._rounds.close()


def scores(train: float, held_out: float | None) -> str:
    """Mean log-likelihoods, as a reader is shown them."""
    return f"train {train:.4f}" + ("" if held_out is None else f", held-out {held_out:.4f}")


def make_progress(
    verbose: int, n_rounds: int, n_done: int, log_det: float, seconds: float = math.inf
) -> Progress:
    """Nothing for 0; bars for 1 where they can be shown, otherwise lines; every epoch for 2."""
    if not verbose:
        return Progress()
    bar = _tqdm() if verbose == 1 and _on_terminal() else None
    if bar is not None:
        return Bars(bar, n_rounds, n_done, log_det)
    return Lines(n_rounds, n_done, log_det, seconds, every_epoch=verbose > 1)


def _on_terminal() -> bool:
    """Whether bars can be drawn; those of several processes would overwrite each other."""
    main = multiprocessing.current_process().name == "MainProcess"
    return main and sys.stderr is not None and sys.stderr.isatty()


def _tqdm():
    """The class of tqdm's bars, None where it is not installed."""
    try:
        from tqdm import tqdm
    except ImportError:
        return None
    return tqdm
