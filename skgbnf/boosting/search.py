"""The search of a round: candidates of each family tried, the best one trained in full."""

import copy
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any, Protocol

from zuko.lazy import LazyDistribution

from skgbnf._random import derive_seed, own_generator
from skgbnf.boosting.candidates import Candidates
from skgbnf.flows import Architecture, FittedByEM, initialise, stack
from skgbnf.training.component import fit_component
from skgbnf.training.em import continue_em
from skgbnf.training.mixture import component_log_prob, given_to, seconds_per_row
from skgbnf.training.objective import Objective, TrainingSettings, clear_gain
from skgbnf.training.rows import Rows

_TRIALS_PER_ROUND = 20
_COARSE_EM_TOL = 1e-3
_FEWEST_CANDIDATES = 4
_MOST_STALE = 2
_STARTING_CELLS_PER_SECOND = 500_000
_FEWEST_STARTING_ROWS = 1000
_ROWS_PER_COLUMN = 20
_TAIL_COST = 5


class Goals(Protocol):
    """What the component of a round is to be good at.

    Attributes
    ----------
    train : Rows
        Training samples.
    """

    train: Rows

    def new_objective(self, architecture: Architecture, component: LazyDistribution) -> Objective:
        """What a component added now is trained for."""

    def joint_objective(self) -> Objective:
        """The likelihood with one component more, by which all candidates are compared."""

    def rows_to_score(self) -> int:
        """Number of samples that a component of this round scores once it is trained."""


@dataclass(frozen=True)
class Found:
    """A trained component, its score on the validation set, and how long it takes for a sample."""

    architecture: Architecture
    component: LazyDistribution
    n_iter: int
    score: float
    seconds_per_row: float

    @property
    def by_em(self) -> bool:
        """Whether it was fitted by EM."""
        return isinstance(self.component, FittedByEM)


class Search:
    """The search of each round.

    Parameters
    ----------
    goals : Goals

    settings : TrainingSettings
        Of the training in full.

    Attributes
    ----------
    training_seconds : float
        Wall time of the training in full, in the last round.
    """

    def __init__(self, goals: Goals, settings: TrainingSettings) -> None:
        self.training_seconds = 0.0
        self._goals, self._settings, self._seed = goals, settings, 0
        self._margins: dict[object, list[Any]] = {}

    def best(
        self, offered: Sequence[Candidates], seconds: float, seed: int, *, needed: bool
    ) -> Found | None:
        """The component with the highest validation score of what is offered.

        Of several families networks are tried for a twentieth of the epochs and of the `seconds`
        that the round may take, and only the best of them is trained in full.

        Parameters
        ----------
        offered : sequence of Candidates
            Those of one family each.

        seconds : float

        seed : int
            Governs the start of every component and the order of its samples.

        needed : bool
            Whether a network that was only tried will do, if trials leave no time to train it.

        Returns
        -------
        found : Found or None
            None if there is none.
        """
        self._seed, start = seed, time.perf_counter()
        full = replace(self._settings, seconds=seconds)
        tried = self._trials(offered, full) if len(offered) > 1 else []
        networks = [found for found in tried if not found.by_em]
        before = time.perf_counter()
        left = seconds - (before - start)
        if not tried:
            tried = [self._best_size(offered[0], full, self._goals.rows_to_score())]
        elif networks:
            winner = max(networks, key=attrgetter("score"))
            left -= self._goals.rows_to_score() * winner.seconds_per_row
            if left > 0:
                tried.append(self._fit(winner.architecture, replace(full, seconds=left)))
        self.training_seconds = time.perf_counter() - before
        best = max(reversed(tried), key=attrgetter("score"))
        return best if left > 0 or needed or best.by_em else None

    def _trials(self, offered: Sequence[Candidates], full: TrainingSettings) -> list[Found]:
        """The best component of each family that there is time for, of the first in any case."""
        max_iter = -(-full.max_iter // _TRIALS_PER_ROUND)
        share = max(_TRIALS_PER_ROUND, 2 * len(offered))
        trial = replace(
            full,
            max_iter=max_iter,
            seconds=full.seconds / share,
            on_part=lambda what: full.on_part(f"trial of {what}"),
        )
        deadline = time.perf_counter() + full.seconds
        tried: list[Found] = []
        for candidates in offered:
            if not tried or time.perf_counter() < deadline:
                tried.append(self._best_size(candidates, trial))
        return tried

    def _best_size(
        self, candidates: Candidates, settings: TrainingSettings, n_to_score: int = 0
    ) -> Found:
        """The best candidate of one family, larger ones tried until two in a row bring no gain.

        EM gains most in its first steps, so that each candidate takes those and the best one the
        rest; a gain smaller than what the steps left out would bring is none. Four candidates are
        tried in any case, since clusters may show only once there is a Gaussian for each.
        """
        best: Found | None = None
        n_stale, deadline = 0, time.perf_counter() + settings.seconds
        coarse = replace(settings, em_tol=_COARSE_EM_TOL)
        for number, architecture in enumerate(candidates):
            left = deadline - time.perf_counter()
            done = n_stale >= _MOST_STALE and number >= _FEWEST_CANDIDATES
            if best is not None and (left <= 0 or done):
                break
            found = self._fit(architecture, replace(coarse, seconds=left), n_to_score)
            if best is None or found.score > best.score + self._least_gain(n_stale):
                best, n_stale = found, 0
            else:
                n_stale += 1
        if best is None:
            raise ValueError("a family has no candidates")
        left = deadline - time.perf_counter()
        return self._refined(best, replace(settings, seconds=left)) if best.by_em else best

    def _least_gain(self, n_stale: int) -> float:
        """Gain that a candidate must bring; more where those before it would have been the end."""
        if n_stale < _MOST_STALE:
            return _COARSE_EM_TOL
        return clear_gain(self._goals.joint_objective().validation_rows)

    def _refined(self, found: Found, settings: TrainingSettings) -> Found:
        """What more steps of EM make of a component, if the validation score gains."""
        if settings.seconds <= 0:
            return found
        component = copy.deepcopy(found.component)
        objective = self._goals.new_objective(found.architecture, component)
        n_iter = found.n_iter + continue_em(component, objective, settings)
        refined = self._scored(found.architecture, component, n_iter)
        return max(found, refined, key=attrgetter("score"))

    def _fit(
        self, architecture: Architecture, settings: TrainingSettings, n_to_score: int = 0
    ) -> Found:
        """Train a component, and leave time for so many samples to be scored after it."""
        deadline = time.perf_counter() + settings.seconds
        train = self._goals.train
        settings.on_part(architecture.describe())
        component = self._started(architecture, settings.seconds)
        objective = self._goals.new_objective(architecture, component)
        if n_to_score and math.isfinite(deadline):
            deadline -= n_to_score * seconds_per_row(component, train.x, train.context)
        settings = replace(settings, seconds=deadline - time.perf_counter())
        n_iter = fit_component(component, objective, settings, derive_seed(self._seed, 1))
        return self._scored(architecture, component, n_iter)

    def _started(self, architecture: Architecture, seconds: float) -> LazyDistribution:
        """An untrained component, started from the samples; of folds, one for each, stacked."""
        some = self._goals.train[:: self._stride(architecture, seconds)]
        folds = some.folds()
        with own_generator(self._seed):
            components = [architecture.build().to(some.x.device, some.x.dtype) for _ in folds]
        if isinstance(components[0], FittedByEM):
            self._start_margins(
                components, folds, (architecture.family, architecture.tail, len(some))
            )
        else:
            for component, rows in zip(components, folds, strict=True):
                initialise(component, rows.x, rows.weights, given_to(component, rows.context))
            components = [component.float() for component in components]
        return components[0] if some.n_folds is None else stack(components)

    def _start_margins(self, components: Sequence[Any], folds: Sequence[Rows], key: object) -> None:
        """Start what stands before Gaussians, which is the same for any number of them."""
        if not hasattr(components[0], "transform"):
            return
        if key not in self._margins:
            for component, rows in zip(components, folds, strict=True):
                initialise(component, rows.x, rows.weights)
            self._margins[key] = [component.transform.state_dict() for component in components]
        for component, state in zip(components, self._margins[key], strict=True):
            component.transform.load_state_dict(state)

    def _stride(self, architecture: Architecture, seconds: float) -> int:
        """Which share of the samples there is time to start a component from: one in so many."""
        n_samples, n_features = self._goals.train.x.shape[-2:]
        tailed = architecture.tail != "base" or architecture.base != "normal"
        rate = _STARTING_CELLS_PER_SECOND / (_TAIL_COST if tailed else 1)
        fewest = max(_FEWEST_STARTING_ROWS, _ROWS_PER_COLUMN * n_features)
        n_rows = max(rate * max(seconds, 0.0) / n_features, fewest)
        return max(int(n_samples / n_rows), 1)

    def _scored(
        self, architecture: Architecture, component: LazyDistribution, n_iter: int
    ) -> Found:
        joint = self._goals.joint_objective()
        rows, start = joint.validation_rows, time.perf_counter()
        log_g = component_log_prob(component, rows.x, rows.context)
        seconds = (time.perf_counter() - start) / len(rows)
        return Found(architecture, component, n_iter, joint.score(log_g), seconds)
