"""Progress reporting: nothing, lines, or bars on a terminal.

Training calls back with each part and each epoch, :mod:`skgbnf.boosting.rounds` with each round.
"""

import math
import multiprocessing
import sys
import time
from dataclasses import dataclass
from typing import Any

_SECONDS_BETWEEN_LINES = 2.0
_SHARE_BETWEEN_LINES = 0.05
_MOST_ROUNDS = 10**12


@dataclass(frozen=True)
class Overview:
    """What is known before the first round.

    Attributes
    ----------
    samples : str
        What there is to learn from.

    n_done : int
        Rounds there were before.

    log_det : float
        What turns scores of epochs into the units of the user.
    """

    samples: str
    n_done: int
    log_det: float


class Progress:
    """Tells nothing; the interface of the other two."""

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def read(self) -> None:
        """Take note that the table is read and checked, before anything else."""

    def begin(self, overview: Overview) -> None:
        """Take note of what there is to do."""

    def part(self, what: str) -> None:
        """Take note of what a round, or a pass of fine-tuning, does next."""

    def epoch(self, n_iter: float, max_iter: int, score: float) -> None:
        """Take note of an epoch: its number, the largest, and the best score so far.

        Within an epoch the number has a fraction.
        """

    def round(
        self, n_rounds: int, n_iter: int, train: float | None, validation: float | None
    ) -> None:
        """Take note of a finished round: its number, its epochs and the scores after it."""

    def no_gain(self) -> None:
        """Take note of a round that was dropped when it ended."""

    def begin_pass(self, number: int, n_passes: int) -> None:
        """Take note that a pass of fine-tuning begins."""

    def end_pass(self, train: float | None, validation: float | None) -> None:
        """Take note of the scores after it."""

    def close(self) -> None:
        """End what was begun."""


class Lines(Progress):
    """A line for each round and each pass of fine-tuning, and every few seconds for what is done.

    Parameters
    ----------
    n_rounds : int
        Largest number of rounds.

    seconds : float
        Time after which the fit ends in any case.

    every_epoch : bool
        Whether there is a line for each part and for each epoch.
    """

    def __init__(self, n_rounds: int, seconds: float, every_epoch: bool) -> None:
        self._n_rounds, self._seconds, self._every_epoch = n_rounds, seconds, every_epoch
        self._n_before = self._n_done = 0
        self._log_det = 0.0
        self._what, self._part = "", ""
        self._first_told: tuple[float, float] | None = None
        self._start = self._step_start = time.perf_counter()
        self._last_line = -math.inf

    def read(self) -> None:
        self._print("reading the table")

    def begin(self, overview: Overview) -> None:
        self._n_before = self._n_done = overview.n_done
        self._log_det = overview.log_det
        limit = f", at most {self._seconds:g} s" if math.isfinite(self._seconds) else ""
        self._print(f"{overview.samples}; up to {self._n_rounds} rounds{limit}")
        self._what = f"round {overview.n_done + 1}/{self._n_rounds}"
        self._step_start = time.perf_counter()

    def part(self, what: str) -> None:
        self._part, self._first_told = what, None
        if self._every_epoch or self._is_due(time.perf_counter()):
            self._print(what)

    def epoch(self, n_iter: float, max_iter: int, score: float) -> None:
        whole = n_iter == int(n_iter)
        if self._every_epoch and whole:
            self._print(f"epoch {n_iter}/{max_iter}{self._nats(score)}")
            return
        now = time.perf_counter()
        if self._first_told is None or n_iter <= self._first_told[1]:
            self._first_told = now, n_iter
        if self._is_due(now):
            text = f"{self._part}, epoch {math.ceil(n_iter)}/{max_iter}{self._nats(score)}"
            # What comes before the first step, and is not repeated, says nothing of those to come.
            start, n_before = self._first_told
            if n_iter > n_before:
                left = (now - start) / (n_iter - n_before) * (max_iter - n_iter)
                left = max(min(left, self._start + self._seconds - now), 0.0)
                text += f", at most about {left:.0f} s left of it"
            self._print(text)

    def round(
        self, n_rounds: int, n_iter: int, train: float | None, validation: float | None
    ) -> None:
        now = time.perf_counter()
        text = f"{scores(train, validation)} nats, {n_iter} iterations"
        text += f", {now - self._step_start:.1f} s"
        self._n_done, self._step_start = n_rounds, now
        if n_rounds < self._n_rounds:
            text += f", at most about {self._seconds_left(now):.0f} s left"
        self._print(text)
        self._what = f"round {n_rounds + 1}/{self._n_rounds}"

    def no_gain(self) -> None:
        now = time.perf_counter()
        self._print(f"no gain, dropped, {now - self._step_start:.1f} s")
        self._step_start = now

    def begin_pass(self, number: int, n_passes: int) -> None:
        self._what, self._step_start = f"fine-tuning {number}/{n_passes}", time.perf_counter()

    def end_pass(self, train: float | None, validation: float | None) -> None:
        seconds = time.perf_counter() - self._step_start
        self._print(f"{scores(train, validation)} nats, {seconds:.1f} s")

    def _nats(self, score: float) -> str:
        return f", {score + self._log_det:.4f} nats" if math.isfinite(score) else ""

    def _seconds_left(self, now: float) -> float:
        per_round = (now - self._start) / max(self._n_done - self._n_before, 1)
        left = per_round * (self._n_rounds - self._n_done)
        return max(min(left, self._start + self._seconds - now), 0.0)

    def _is_due(self, now: float) -> bool:
        longest = max(_SECONDS_BETWEEN_LINES, _SHARE_BETWEEN_LINES * (now - self._start))
        return now - self._last_line >= longest

    def _print(self, text: str) -> None:
        what = f"{self._what}: " if self._what else ""
        print(f"[skgbnf] {what}{text}", flush=True)
        self._last_line = time.perf_counter()


class Bars(Progress):
    """A bar of rounds and one of the epochs of a component, by tqdm, with the time left.

    Parameters
    ----------
    bar : callable
        ``tqdm.tqdm``.

    n_rounds, seconds
        As of :class:`Lines`.
    """

    def __init__(self, bar: Any, n_rounds: int, seconds: float) -> None:
        self._bar, self._n_rounds, self._seconds = bar, n_rounds, seconds
        self._log_det = 0.0

    def __enter__(self) -> "Bars":
        self._rounds = self._bar(total=self._n_rounds, desc="rounds", dynamic_ncols=True)
        self._epochs = self._bar(total=1, desc="epochs", dynamic_ncols=True, leave=False)
        return self

    def read(self) -> None:
        print("[skgbnf] reading the table", file=sys.stderr, flush=True)

    def begin(self, overview: Overview) -> None:
        self._log_det = overview.log_det
        self._rounds.update(overview.n_done)
        limit = f", at most {self._seconds:g} s" if math.isfinite(self._seconds) else ""
        self._rounds.set_postfix_str(f"{overview.samples}{limit}")

    def part(self, what: str) -> None:
        self._epochs.reset(total=1)
        self._epochs.set_postfix_str("", refresh=False)
        self._epochs.set_description(f"{what}, epochs")

    def epoch(self, n_iter: float, max_iter: int, score: float) -> None:
        if n_iter <= self._epochs.n or max_iter != self._epochs.total:
            self._epochs.reset(total=max_iter)
        if math.isfinite(score):
            self._epochs.set_postfix_str(f"{score + self._log_det:.4f} nats", refresh=False)
        self._epochs.n = round(n_iter, 2)
        self._epochs.update(0)

    def round(
        self, n_rounds: int, n_iter: int, train: float | None, validation: float | None
    ) -> None:
        self._rounds.set_postfix_str(f"{scores(train, validation)} nats", refresh=False)
        self._rounds.update(n_rounds - self._rounds.n)

    def no_gain(self) -> None:
        self._rounds.set_postfix_str("no gain, dropped")

    def begin_pass(self, number: int, n_passes: int) -> None:
        self._rounds.set_description(f"fine-tuning {number}/{n_passes}")

    def end_pass(self, train: float | None, validation: float | None) -> None:
        self._rounds.set_postfix_str(f"{scores(train, validation)} nats")

    def close(self) -> None:
        self._epochs.close()
        self._rounds.close()


def scores(train: float | None, validation: float | None) -> str:
    """Mean scores, as a reader is shown them; what is missing is left out."""
    pairs = {"train": train, "validation": validation}
    return ", ".join(f"{name} {value:.4f}" for name, value in pairs.items() if value is not None)


def make_progress(verbose: int, n_rounds: int, max_time: float | None = None) -> Progress:
    """Nothing for 0; bars for 1 where they can be shown, otherwise lines; every epoch for 2."""
    if not verbose:
        return Progress()
    n_rounds, seconds = min(n_rounds, _MOST_ROUNDS), max_time or math.inf
    bar = _tqdm() if verbose == 1 and _on_terminal() else None
    if bar is not None:
        return Bars(bar, n_rounds, seconds)
    return Lines(n_rounds, seconds, every_epoch=verbose > 1)


def _on_terminal() -> bool:
    """Whether bars can be drawn; those of several processes would overwrite each other."""
    main = multiprocessing.current_process().name == "MainProcess"
    return main and sys.stderr is not None and sys.stderr.isatty()


def _tqdm() -> Any:
    """The class of tqdm's bars, None where it is not installed."""
    try:
        from tqdm import tqdm
    except ImportError:
        return None
    return tqdm
