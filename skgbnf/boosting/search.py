"""The search of a round: candidates of each family tried, the best one trained in full."""

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any, Protocol, TypeVar

from zuko.lazy import LazyDistribution

from skgbnf._random import derive_seed, own_generator
from skgbnf.boosting.candidates import Candidates
from skgbnf.flows import Architecture, FittedByEM, get_family, initialise, stack
from skgbnf.training.component import fit_component, new_descent
from skgbnf.training.descent import Descent
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
    """A trained component, its score on the validation set, and how long it takes for a sample.

    `finished` is whether there was time to train it to its end.
    """

    architecture: Architecture
    component: LazyDistribution
    n_iter: int
    score: float
    seconds_per_row: float
    finished: bool = True


@dataclass(frozen=True)
class _Contender:
    """A network in training, and what its best state so far is worth."""

    descent: Descent
    found: Found

    @property
    def score(self) -> float:
        return self.found.score


_Tried = TypeVar("_Tried", Found, _Contender)


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
        Wall time of the training of the winner, in the last round.
    """

    def __init__(self, goals: Goals, settings: TrainingSettings) -> None:
        self.training_seconds = 0.0
        self._goals, self._settings, self._seed = goals, settings, 0
        self._margins: dict[object, list[Any]] = {}

    def best(
        self, offered: Sequence[Candidates], seconds: float, seed: int, *, needed: bool
    ) -> Found | None:
        """The component with the highest validation score of what is offered.

        Of several families each that EM fits has a twentieth of the time. Networks are trained by
        successive halving: all of them for a twentieth of their epochs or of their time, the better
        half as long again, and so on until one is left, which goes on to its end.

        Parameters
        ----------
        offered : sequence of Candidates
            Those of one family each.

        seconds : float
            What the round may take.

        seed : int
            Governs the start of every component and the order of its samples.

        needed : bool
            Whether a network that was only tried will do, if trials leave no time to train it.

        Returns
        -------
        found : Found or None
            None if there is none.

        References
        ----------
        Non-stochastic Best Arm Identification and Hyperparameter Optimization. K. Jamieson,
        A. Talwalkar, 2016. https://arxiv.org/abs/1502.07943
        """
        self._seed, start = seed, time.perf_counter()
        full = replace(self._settings, seconds=seconds)
        by_em = [candidates for candidates in offered if _is_fitted_by_em(candidates)]
        networks = [candidates for candidates in offered if candidates not in by_em]
        if len(offered) == len(by_em) == 1:
            found = self._best_by_em(by_em[0], full, self._goals.rows_to_score())
            self.training_seconds = time.perf_counter() - start
            return found
        share = max(_TRIALS_PER_ROUND, 2 * len(offered))
        trial = replace(_trial(full), seconds=seconds / share)
        tried = [self._best_by_em(candidates, trial) for candidates in by_em]
        left = seconds - (time.perf_counter() - start)
        if networks and (left > 0 or not tried):
            tried.append(self._best_network(networks, replace(full, seconds=left)))
        there = [found for found in reversed(tried) if found.finished or needed]
        return max(there, key=attrgetter("score"), default=None)

    def _best_by_em(
        self, candidates: Candidates, settings: TrainingSettings, n_to_score: int = 0
    ) -> Found:
        """The best size of a family that EM fits.

        EM gains most in its first steps, so that each size takes those and the best one the rest.
        """
        deadline = time.perf_counter() + settings.seconds
        coarse = replace(settings, em_tol=_COARSE_EM_TOL)

        def fit(architecture: Architecture, seconds: float) -> Found:
            return self._fitted(architecture, replace(coarse, seconds=seconds), n_to_score)

        found = self._best_size(candidates, fit, deadline)
        return self._refined(found, replace(settings, seconds=deadline - time.perf_counter()))

    def _best_network(self, offered: Sequence[Candidates], settings: TrainingSettings) -> Found:
        """The winner of successive halving, trained to its end."""
        deadline, share = time.perf_counter() + settings.seconds, 1 / _TRIALS_PER_ROUND
        own = replace(settings, seconds=settings.seconds / _cost_of_halving(len(offered)))
        if len(offered) > 1:
            own = _trial(own)

        def enter(architecture: Architecture, seconds: float) -> _Contender:
            return self._advanced(self._entered(architecture, own), share, seconds)

        contenders: list[_Contender] = []
        for candidates in offered:
            if not contenders or time.perf_counter() < deadline:
                contenders.append(self._best_size(candidates, enter, deadline))
        while len(contenders) > 1:
            contenders.sort(key=attrgetter("score"), reverse=True)
            del contenders[len(contenders) // 2 :]
            if len(contenders) > 1:
                share *= 2
                contenders = [
                    self._advanced(contender, share, deadline - time.perf_counter())
                    for contender in contenders
                ]
        winner, found = contenders[0], contenders[0].found
        to_score = self._goals.rows_to_score() * found.seconds_per_row
        left = deadline - time.perf_counter() - to_score
        if left > 0:
            settings.on_part(found.architecture.describe())
            found = self._advanced(winner, math.inf, left).found
        self.training_seconds = winner.descent.seconds
        return replace(found, finished=left > 0)

    def _entered(self, architecture: Architecture, settings: TrainingSettings) -> _Contender:
        """A network that is yet to be trained."""
        settings.on_part(architecture.describe())
        component = self._started(architecture, settings.seconds / _TRIALS_PER_ROUND)
        objective = self._goals.new_objective(architecture, component)
        descent = new_descent(component, objective, settings, derive_seed(self._seed, 1))
        return _Contender(descent, Found(architecture, component, 0, -math.inf, 0.0))

    def _advanced(self, contender: _Contender, share: float, seconds: float) -> _Contender:
        """A network trained until a share of its epochs or of its time is spent."""
        descent = contender.descent
        descent.run(share, seconds)
        found = self._scored(contender.found.architecture, descent.best(), descent.n_iter)
        return _Contender(descent, found)

    def _best_size(
        self,
        candidates: Candidates,
        fit: Callable[[Architecture, float], _Tried],
        deadline: float,
    ) -> _Tried:
        """The best candidate of one family, larger ones tried until two in a row bring no gain.

        A gain smaller than what more training would bring is none. Four candidates are tried in any
        case, since clusters may show only once there is a Gaussian for each.
        """
        best: _Tried | None = None
        n_stale = 0
        for number, architecture in enumerate(candidates):
            left = deadline - time.perf_counter()
            done = n_stale >= _MOST_STALE and number >= _FEWEST_CANDIDATES
            if best is not None and (left <= 0 or done):
                break
            tried = fit(architecture, left)
            if best is None or tried.score > best.score + self._least_gain(n_stale):
                best, n_stale = tried, 0
            else:
                n_stale += 1
        if best is None:
            raise ValueError("a family has no candidates")
        return best

    def _least_gain(self, n_stale: int) -> float:
        """Gain that a candidate must bring; more where those before it would have been the end."""
        if n_stale < _MOST_STALE:
            return _COARSE_EM_TOL
        return clear_gain(self._goals.joint_objective().validation_rows)

    def _refined(self, found: Found, settings: TrainingSettings) -> Found:
        """What more steps of EM make of a component, if the validation score gains."""
        if settings.seconds <= 0 or not isinstance(found.component, FittedByEM):
            return found
        component = copy.deepcopy(found.component)
        objective = self._goals.new_objective(found.architecture, component)
        n_iter = found.n_iter + continue_em(component, objective, settings)
        refined = self._scored(found.architecture, component, n_iter)
        return max(found, refined, key=attrgetter("score"))

    def _fitted(
        self, architecture: Architecture, settings: TrainingSettings, n_to_score: int
    ) -> Found:
        """A component fitted by EM, with time left for so many samples to be scored after it."""
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


def _is_fitted_by_em(candidates: Candidates) -> bool:
    """Whether EM fits a family; with a base of another kind one of them is trained by gradient."""
    architecture = candidates[0]
    return get_family(architecture.family).fitted_by == "em" and not architecture.n_context


def _trial(settings: TrainingSettings) -> TrainingSettings:
    """Settings that call each part a trial."""
    return replace(settings, on_part=lambda what: settings.on_part(f"trial of {what}"))


def _cost_of_halving(n_networks: int) -> float:
    """Time of all trials and of the training of the winner, as a multiple of the latter."""
    cost, more = 1.0, 1 / _TRIALS_PER_ROUND
    done = 0.0
    while n_networks > 1:
        cost += (n_networks - 1) * more
        done += more
        n_networks, more = n_networks // 2, done
    return cost
