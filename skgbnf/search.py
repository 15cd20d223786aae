"""The search of a round for its component: families tried, sizes climbed, the best one trained."""

import copy
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Protocol

from zuko.lazy import LazyDistribution

from skgbnf._random import derive_seed, own_generator
from skgbnf.flows import LAYERED_FAMILIES, Architecture, initialise
from skgbnf.mixture import component_log_prob, seconds_per_row
from skgbnf.training import (
    Objective,
    Rows,
    Settings,
    clear_gain,
    continue_em,
    fit_component,
    fits_by_em,
)

_TRIALS_PER_ROUND = 20
_COARSE_EM_TOL = 1e-3
_FEWEST_RUNGS = 4
_MOST_STALE = 2
_STARTING_CELLS_PER_SECOND = 500_000
_FEWEST_STARTING_ROWS = 1000
_ROWS_PER_COLUMN = 20
_TAIL_COST = 5

Ladder = Iterable[Architecture]
"""Architectures of one family, each larger than the one before."""


class Goals(Protocol):
    """What the component of a round is to be good at.

    Attributes
    ----------
    train : Rows
        Rows to start from.
    """

    train: Rows

    def new_objective(self, architecture: Architecture, component: LazyDistribution) -> Objective:
        """What a component added now is trained for."""

    def mixture_objective(self) -> Objective:
        """The likelihood of the mixture with one component more, by which all are judged."""

    def rows_to_score(self) -> int:
        """Number of rows that a component of this round scores once it is trained."""


@dataclass(frozen=True)
class Fitted:
    """A trained component, how good the judging rows say it is, and how long it takes for a row."""

    architecture: Architecture
    component: LazyDistribution
    n_iter: int
    score: float
    seconds_per_row: float

    @property
    def by_em(self) -> bool:
        return fits_by_em(self.component)


class Search:
    """The search of one round.

    Parameters
    ----------
    goals : Goals

    settings : Settings
        Of the training in full.

    seed : int
        Governs the start of every component and the order of its rows.

    Attributes
    ----------
    training_seconds : float
        Wall time of the training in full.
    """

    def __init__(self, goals: Goals, settings: Settings, seed: int) -> None:
        self.training_seconds = 0.0
        self._goals, self._settings, self._seed = goals, settings, seed

    def best(self, ladders: Sequence[Ladder], seconds: float, *, needed: bool) -> Fitted | None:
        """The best component by the judging rows of what the ladders offer.

        Where there are several ladders, networks are tried for a twentieth of the epochs and of
        the `seconds` that the round may take, and only the best of them is trained in full.

        Parameters
        ----------
        ladders : sequence of Ladder

        seconds : float

        needed : bool
            Whether a network that was only tried will do, if trials leave no time to train it.

        Returns
        -------
        fitted : Fitted or None
            None if there is none.
        """
        start = time.perf_counter()
        full = replace(self._settings, seconds=seconds)
        tried = self._trials(ladders, full) if len(ladders) > 1 else []
        networks = [fitted for fitted in tried if not fitted.by_em]
        before = time.perf_counter()
        left = seconds - (before - start)
        if not tried:
            tried = [self._climb(ladders[0], full, self._goals.rows_to_score())]
        elif networks:
            winner = max(networks, key=attrgetter("score"))
            left -= self._goals.rows_to_score() * winner.seconds_per_row
            if left > 0:
                tried.append(self._fit(winner.architecture, replace(full, seconds=left)))
        self.training_seconds = time.perf_counter() - before
        best = max(reversed(tried), key=attrgetter("score"))
        return best if left > 0 or needed or best.by_em else None

    def _trials(self, ladders: Sequence[Ladder], full: Settings) -> list[Fitted]:
        """The best component of each ladder that there is time for, the first one in any case."""
        max_iter = -(-full.max_iter // _TRIALS_PER_ROUND)
        share = max(_TRIALS_PER_ROUND, 2 * len(ladders))
        trial = replace(
            full,
            max_iter=max_iter,
            seconds=full.seconds / share,
            on_part=lambda what: full.on_part(f"trial of {what}"),
        )
        deadline = time.perf_counter() + full.seconds
        tried: list[Fitted] = []
        for ladder in ladders:
            if not tried or time.perf_counter() < deadline:
                tried.append(self._climb(ladder, trial))
        return tried

    def _climb(self, ladder: Ladder, settings: Settings, n_to_score: int = 0) -> Fitted:
        """The best component of a ladder, climbed until two rungs in a row bring no gain.

        EM gains most in its first steps, so that each rung takes those and the best one the rest;
        a gain smaller than what the steps left out would bring is none. Four rungs are tried in
        any case, since clusters may show only once there is a Gaussian for each.
        """
        best, n_stale, deadline = None, 0, time.perf_counter() + settings.seconds
        coarse = replace(settings, em_tol=_COARSE_EM_TOL)
        for number, architecture in enumerate(ladder):
            left = deadline - time.perf_counter()
            done = n_stale >= _MOST_STALE and number >= _FEWEST_RUNGS
            if best is not None and (left <= 0 or done):
                break
            fitted = self._fit(architecture, replace(coarse, seconds=left), n_to_score)
            if best is None or fitted.score > best.score + self._least_gain(n_stale):
                best, n_stale = fitted, 0
            else:
                n_stale += 1
        left = deadline - time.perf_counter()
        return self._refined(best, replace(settings, seconds=left)) if best.by_em else best

    def _least_gain(self, n_stale: int) -> float:
        """Gain that a rung must bring; more where the ladder would have ended before it."""
        if n_stale < _MOST_STALE:
            return _COARSE_EM_TOL
        return clear_gain(self._goals.mixture_objective().judge_rows)

    def _refined(self, fitted: Fitted, settings: Settings) -> Fitted:
        """What more steps of EM make of a component, if the judging rows gain."""
        if settings.seconds <= 0:
            return fitted
        component = copy.deepcopy(fitted.component)
        objective = self._goals.new_objective(fitted.architecture, component)
        n_iter = fitted.n_iter + continue_em(component, objective, settings)
        refined = self._scored(fitted.architecture, component, n_iter)
        return max(fitted, refined, key=attrgetter("score"))

    def _fit(self, architecture: Architecture, settings: Settings, n_to_score: int = 0) -> Fitted:
        """Train a component, and leave time for so many rows to be scored after it."""
        deadline = time.perf_counter() + settings.seconds
        train = self._goals.train
        settings.on_part(_name(architecture))
        with own_generator(self._seed):
            component = architecture.build().to(train.x.device, train.x.dtype)
        every = self._stride(architecture, settings.seconds)
        initialise(component, train.x[::every], train.weights[::every])
        if not fits_by_em(component):
            component = component.float()
        objective = self._goals.new_objective(architecture, component)
        if n_to_score and math.isfinite(deadline):
            deadline -= n_to_score * seconds_per_row(component, train.x)
        settings = replace(settings, seconds=deadline - time.perf_counter())
        n_iter = fit_component(component, objective, settings, derive_seed(self._seed, 1))
        return self._scored(architecture, component, n_iter)

    def _stride(self, architecture: Architecture, seconds: float) -> int:
        """Which share of the rows there is time to start a component from: one in so many."""
        n_samples, n_features = self._goals.train.x.shape
        tailed = architecture.tail != "base" or architecture.base != "normal"
        rate = _STARTING_CELLS_PER_SECOND / (_TAIL_COST if tailed else 1)
        fewest = max(_FEWEST_STARTING_ROWS, _ROWS_PER_COLUMN * n_features)
        n_rows = max(rate * max(seconds, 0.0) / n_features, fewest)
        return max(int(n_samples / n_rows), 1)

    def _scored(
        self, architecture: Architecture, component: LazyDistribution, n_iter: int
    ) -> Fitted:
        mixture = self._goals.mixture_objective()
        start = time.perf_counter()
        log_g = component_log_prob(component, mixture.judge_rows.x)
        seconds_per_row = (time.perf_counter() - start) / len(log_g)
        return Fitted(architecture, component, n_iter, mixture.judge(log_g), seconds_per_row)


def _name(architecture: Architecture) -> str:
    """What a reader is told of an architecture that is fitted."""
    kind = architecture.kind
    if callable(kind):
        return getattr(kind, "__name__", "a callable")
    if kind == "gaussian_mixture":
        n_components = architecture.n_components
        return f"EM of {n_components} Gaussian{'s' if n_components > 1 else ''}"
    places = {"columns": ", splines of columns", "whitened": ", splines of whitened columns"}
    return kind + (places.get(architecture.splines, "") if kind in LAYERED_FAMILIES else "")
