"""A fitted density of targets given features."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch

from skgbnf._random import derive_seed
from skgbnf.estimators.conditions import Condition, Conditioner
from skgbnf.estimators.fitted import Evaluate, FittedDensity
from skgbnf.estimators.marginals import Marginals
from skgbnf.table.coordinates import Coordinates
from skgbnf.table.frames import Description
from skgbnf.training.fitted import FittedCombination, FittedComponent, History, Plain

_ROWS_PER_BLOCK = 20_000
_DRAWS_AT_ONCE = 500_000


@dataclass(frozen=True, eq=False)
class FittedRegression:
    """All that `fit` found out about targets and features.

    Attributes
    ----------
    density : FittedDensity
        Of the residuals of the targets, whose table and coordinates are those of the targets.

    conditioner : Conditioner
        The map from features to the mean and spread that residuals are made with.
    """

    density: FittedDensity
    conditioner: Conditioner

    @property
    def features(self) -> Description:
        """The table that the estimator is given as X."""
        return self.conditioner.encoder.table

    @property
    def table(self) -> Description:
        """The targets."""
        return self.density.table

    @property
    def coordinates(self) -> Coordinates:
        assert isinstance(self.density.coordinates, Coordinates)
        return self.density.coordinates

    @property
    def combination(self) -> FittedCombination:
        return self.density.combination

    @property
    def history(self) -> History:
        return self.density.history

    @property
    def reference_score(self) -> float:
        return self.density.reference_score

    @property
    def seed(self) -> int:
        return self.density.seed

    @property
    def n_folds(self) -> int:
        return self.density.n_folds

    @property
    def n_targets(self) -> int:
        return self.conditioner.n_targets

    def rounds(self) -> list[tuple[FittedComponent, ...]]:
        """The components of each round, one for each fold."""
        return self.density.rounds()

    def log_densities(
        self, codes: np.ndarray, Y: np.ndarray, device: torch.device, evaluate: Evaluate
    ) -> np.ndarray:
        """Log-densities in nats, in the units of the targets, of shape (n_stages, n_samples)."""

        def of_block(condition: Condition, rows: slice) -> np.ndarray:
            return self.density.of_block(Y[rows], device, evaluate, condition)

        with torch.no_grad():
            return np.concatenate(self._by_blocks(codes, of_block), axis=1)

    def sample(
        self, codes: np.ndarray, n_samples: int, seed: int, device: torch.device
    ) -> np.ndarray:
        """Draws given each sample's features, of shape (n_rows, n_samples, n_targets)."""
        size = max(1, _DRAWS_AT_ONCE // n_samples)

        def of_block(condition: Condition, rows: slice) -> np.ndarray:
            drawn = self._draws(condition, n_samples, derive_seed(seed, rows.start), device)
            return drawn.reshape(len(condition), n_samples, -1)

        return np.concatenate(self._by_blocks(codes, of_block, size))

    def marginals(
        self,
        codes: np.ndarray,
        device: torch.device,
        answer: Callable[[Marginals, slice], np.ndarray],
    ) -> np.ndarray:
        """What a function returns for the distributions of the only target, sample by sample."""
        combination = self.combination.at(torch.float64, device)

        def of_block(condition: Condition, rows: slice) -> np.ndarray:
            return answer(Marginals(combination, condition, self.coordinates, device), rows)

        with torch.no_grad():
            return np.concatenate(self._by_blocks(codes, of_block, Marginals.rows_at_once))

    def to_plain(self) -> Plain:
        """All but the description of the targets, as plain values and arrays."""
        return {"density": self.density.to_plain(), "conditioner": self.conditioner.to_plain()}

    @classmethod
    def from_plain(cls, plain: Plain, table: Description, *, check: bool = True) -> Self:
        """Inverse of :meth:`to_plain`; ValueError if the parts do not fit together."""
        conditioner = Conditioner.from_plain(plain["conditioner"])
        density = FittedDensity.from_plain(
            plain["density"], table, check=check, n_context=conditioner.n_context
        )
        if conditioner.n_targets != density.combination.n_features:
            raise ValueError("its features tell of more or fewer targets than there are")
        return cls(density, conditioner)

    def _draws(
        self, condition: Condition, n_samples: int, seed: int, device: torch.device
    ) -> np.ndarray:
        combination = self.combination.at(torch.float64, device)
        many = condition.repeated(n_samples)
        context = many.tensor(np.float64, device)
        U = combination.sample(len(many), seed, context).cpu().numpy()
        return self.coordinates.inverse_transform(many.restored(U))

    def _by_blocks(
        self, codes: np.ndarray, answer: Callable[..., Any], size: int = _ROWS_PER_BLOCK
    ) -> list[np.ndarray]:
        """What a function of a condition and of the rows that it is of returns, block by block."""
        parts = []
        for start in range(0, len(codes), size):
            rows = slice(start, min(start + size, len(codes)))
            parts.append(answer(self.conditioner.condition(codes[rows]), rows))
        return parts
