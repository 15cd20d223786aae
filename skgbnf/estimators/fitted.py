"""A fitted density of a table: the map of its columns, the components, the scores."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from skgbnf.estimators.conditions import Condition
from skgbnf.estimators.mixed import MixedCoordinates
from skgbnf.table.coordinates import Coordinates
from skgbnf.table.frames import Description, container_of, integer_columns, make_frame
from skgbnf.training.fitted import (
    FittedCombination,
    FittedComponent,
    History,
    Plain,
    combination_from_plain,
)
from skgbnf.training.mixture import Combination

Evaluate = Callable[[Combination, Tensor, Tensor | None], Tensor]
"""From a combination, samples and context to log-densities of shape (n_stages, n_samples)."""


TableMap = Coordinates | MixedCoordinates
"""The map between the units of a table and those of components."""


def of_all_rounds(combination: Combination, x: Tensor, context: Tensor | None) -> Tensor:
    """Log-densities under the whole combination."""
    return combination.log_prob(x, context)[None]


def of_each_round(combination: Combination, x: Tensor, context: Tensor | None) -> Tensor:
    """Log-densities after each round."""
    return torch.stack([*combination.staged_log_prob(x, context)])


@dataclass(frozen=True, eq=False)
class FittedDensity:
    """All that `fit` found out about a table.

    Attributes
    ----------
    table : Description
        Library, names and types of the columns.

    coordinates : Coordinates or MixedCoordinates
        The map between the units of the table and those in which flows are trained.

    combination : FittedCombination
        A mixture or a product.

    history : History

    reference_score : float
        Mean log-density of the training samples under the best Gaussian, in nats.

    seed : int
        From which every round derives its own.

    row_folds : ndarray of int of shape (n_given_samples,), or None, default=None
        The fold in which each sample given to ``fit`` judges, -1 for those that are left out; None
        without folds.
    """

    table: Description
    coordinates: TableMap
    combination: FittedCombination
    history: History
    reference_score: float
    seed: int
    row_folds: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.row_folds is not None:
            _check_folds(self.row_folds, self.n_folds)
            self.row_folds.flags.writeable = False

    @property
    def features(self) -> Description:
        """The table that an estimator is given as X."""
        return self.table

    @property
    def n_folds(self) -> int:
        """Number of components of each round, one for each fold; 1 if there was one split."""
        return len(self.combination.components) // len(self.history.n_iter)

    def rounds(self) -> list[tuple[FittedComponent, ...]]:
        """The components of each round, one for each fold."""
        components, n = self.combination.components, self.n_folds
        return [components[i : i + n] for i in range(0, len(components), n)]

    def log_densities(
        self, blocks: Iterable[np.ndarray], device: torch.device, evaluate: Evaluate
    ) -> np.ndarray:
        """Log-densities in nats, in the units of the table, without gradients.

        Parameters
        ----------
        blocks : iterable of ndarrays of shape (n_samples, n_features)
            Checked samples, all of them float32 or all of them float64.

        device : torch.device

        evaluate : callable

        Returns
        -------
        log_density : ndarray of shape (n_stages, n_samples)
            -inf outside of the bounds.
        """
        with torch.no_grad():
            scored = [self.of_block(rows, device, evaluate) for rows in blocks]
        return np.concatenate(scored, axis=1)

    def table_like(self, rows: np.ndarray, X: Any) -> Any:
        """Samples as a table of the library of another, moved to the grids of their columns.

        Parameters
        ----------
        rows : ndarray of shape (n_samples, n_features)
            In the units of the table, as numbers.

        X : ndarray or frame
        """
        container, coordinates = container_of(X), self.coordinates
        if isinstance(coordinates, MixedCoordinates):
            if container == "numpy":
                return coordinates.values(rows)
            return coordinates.columns.restore(rows, container)
        integers = integer_columns(self.table.dtypes)
        rows = coordinates.noise.snap(rows, coordinates.bounds.limits, integers)
        return rows if container == "numpy" else make_frame(rows, Description.of_numbers_like(X))

    def sample(self, n_samples: int, seed: int, device: torch.device) -> np.ndarray:
        """Samples in the units of the table, of shape (n_samples, n_features)."""
        combination = self.combination.at(torch.float64, device)
        return self.coordinates.inverse_transform(combination.sample(n_samples, seed).cpu().numpy())

    def to_plain(self) -> Plain:
        """All but the description of the table, as plain values and arrays."""
        plain = {
            "coordinates": self.coordinates.to_plain(),
            "combination": self.combination.to_plain(),
            "history": self.history.to_plain(),
            "reference_score": self.reference_score,
            "seed": self.seed,
        }
        return plain if self.row_folds is None else {**plain, "row_folds": self.row_folds}

    @classmethod
    def from_plain(
        cls, plain: Plain, table: Description, *, check: bool = True, n_context: int = 0
    ) -> Self:
        """Inverse of :meth:`to_plain`.

        Parameters
        ----------
        plain : dict

        table : Description

        check : bool, default=True
            Whether the arrays of components are compared with their architectures, as those of
            a file must be.

        n_context : int, default=0
            Number of columns of the context that components may depend on.

        Raises
        ------
        ValueError
            If the parts do not fit together.
        """
        coordinates = _map_from_plain(plain["coordinates"])
        if coordinates.n_features != len(table.labels):
            raise ValueError("it has names for more or fewer columns than it knows")
        combination = combination_from_plain(plain["combination"], check=check)
        if combination.n_features != coordinates.n_variables:
            raise ValueError("its components have another number of columns than the table")
        if combination.n_context not in (0, n_context):
            raise ValueError("its components need another context than there is")
        history = History.from_plain(plain["history"], len(combination.staged_weights))
        reference = float(plain["reference_score"])
        if np.isnan(reference):
            raise ValueError("the score of its reference is not a number")
        seed, row_folds = int(plain["seed"]), plain.get("row_folds")
        return cls(table, coordinates, combination, history, reference, seed, row_folds)

    def of_block(
        self,
        rows: np.ndarray,
        device: torch.device,
        evaluate: Evaluate,
        condition: Condition | None = None,
    ) -> np.ndarray:
        """Log-densities of one block, given what features say of each sample if anything.

        Parameters
        ----------
        rows : ndarray of shape (n_samples, n_features)

        device : torch.device

        evaluate : callable

        condition : Condition or None, default=None

        Returns
        -------
        log_density : ndarray of shape (n_stages, n_samples)
        """
        combination = self.combination.at(torch.from_numpy(np.empty(0, rows.dtype)).dtype, device)
        scores, context = [], None if condition is None else condition.tensor(rows.dtype, device)
        for Z, log_weight in self.coordinates.points(rows, rows.dtype):
            if condition is not None:
                Z, log_det = condition.residuals(Z)
                log_weight = log_weight + log_det
            score = evaluate(combination, torch.from_numpy(Z).to(device), context).cpu().numpy()
            scores.append(score + log_weight.astype(rows.dtype))
        block = scores[0] if len(scores) == 1 else _log_sum_exp(np.stack(scores))
        block[:, self.coordinates.excludes(rows)] = -np.inf
        return block


def _map_from_plain(plain: Plain) -> TableMap:
    """Inverse of ``to_plain`` of either map."""
    mixed = "variables" in plain
    return MixedCoordinates.from_plain(plain) if mixed else Coordinates.from_plain(plain)


def _check_folds(row_folds: np.ndarray, n_folds: int) -> None:
    """Raise ValueError unless these are folds of samples, one of them or more in each fold."""
    if row_folds.ndim != 1 or row_folds.dtype != np.int32:
        raise ValueError("its folds of samples are no whole numbers")
    if n_folds == 1 or not np.array_equal(np.setdiff1d(row_folds, -1), np.arange(n_folds)):
        raise ValueError("it has samples of more or fewer folds than components")


def _log_sum_exp(scores: np.ndarray) -> np.ndarray:
    """Logarithm of the sum over the first axis of the exponentials, in the precision given."""
    largest = scores.max(axis=0)
    return largest + np.log(np.exp(scores - largest).sum(axis=0))
