"""The density that comes of matching: scores, samples, a file."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_array

from skgbnf._checks import check_integer
from skgbnf._device import check_device, score_device
from skgbnf._random import RandomState, seed_from
from skgbnf.boosting.attributes import RoundAttributes
from skgbnf.persistence import persistent
from skgbnf.table.bounds import Bounds
from skgbnf.table.checks import DTYPES
from skgbnf.training.column_map import ColumnMap
from skgbnf.training.fitted import FittedCombination, FittedMixture, History, combination_from_plain
from skgbnf.training.torch_density import TorchDensity, check_precision

_NUMBERS = (
    "validation_error_", "effective_sample_size_", "pareto_k_", "log_evidence_",
    "log_evidence_error_",
)  # fmt: skip


@persistent
@dataclass(frozen=True, eq=False)
class MatchedDensity(RoundAttributes):
    """A normalised mixture of flows close to an unnormalised density; see `fit_to_log_prob`.

    Attributes
    ----------
    mixture : FittedMixture
        Components and weights, their parameters as NumPy arrays.

    history : History
        Its scores are evidence lower bounds.

    validation_error_ : float
        Standard error of the last bound, from the draws it was estimated with, in nats.

    effective_sample_size_ : float
        Of 4,000 draws from the density, as importance samples of what was matched: so many draws
        from the latter would estimate means about as well.

    pareto_k_ : float
        Shape of the tail of their importance weights. Up to 0.7 the draws and the next two numbers
        can be trusted; above, the density misses a part of what was matched. A mode that no draw is
        near does not show here.

    log_evidence_ : float
        Logarithm of the integral of what was matched, in nats, by these weights.

    log_evidence_error_ : float
        Its standard error, in nats.

    parameters : dict
        The arguments of the fit that its rounds depend on, with `bounds` as lower and upper ones.

    seed : int
        From which every round derived its own.

    device : str or torch.device
        Where to compute.
    """

    __module__ = "skgbnf"  # the path in pickles, which stays wherever the class moves

    mixture: FittedMixture = field(repr=False)
    history: History = field(repr=False)
    validation_error_: float
    effective_sample_size_: float
    pareto_k_: float
    log_evidence_: float
    log_evidence_error_: float
    parameters: dict[str, Any] = field(repr=False)
    seed: int = field(repr=False)
    device: str | torch.device = field(default="cpu", repr=False)

    def _rounds(self) -> tuple[FittedCombination, History]:
        """The fitted components, and the notes on their rounds."""
        return self.mixture, self.history

    @property
    def n_features_in_(self) -> int:
        """Number of columns."""
        return self.mixture.n_features

    @property
    def bounds_(self) -> np.ndarray:
        """Lower and upper bounds, ndarray of shape (2, `n_features_in_`); infinite for none."""
        return np.array(self.parameters["bounds"], dtype=np.float64)

    def score_samples(self, Z: ArrayLike) -> np.ndarray:
        """Log-density of each row.

        Parameters
        ----------
        Z : array-like of shape (n_samples, n_features)

        Returns
        -------
        log_density : ndarray of shape (n_samples,)
            In nats; float32 if Z is, otherwise float64. -inf outside the bounds and on one.
        """
        rows = check_array(Z, dtype=DTYPES, input_name="Z")
        n_columns, n_known = rows.shape[1], self.n_features_in_
        if n_columns != n_known:
            raise ValueError(f"Z has {n_columns} columns, but the density {n_known}.")
        U, log_det = self._unbounded(rows)
        u = torch.from_numpy(U).to(score_device(self.device))
        with torch.no_grad():
            scores = self.mixture.at(u.dtype, u.device).log_prob(u).cpu().numpy()
        return scores + log_det

    def score(self, Z: ArrayLike, y: object = None) -> float:
        """Mean of :meth:`score_samples`, in nats, higher is better; `y` is ignored."""
        return float(np.mean(self.score_samples(Z), dtype=np.float64))

    def sample(self, n_samples: int = 1, random_state: RandomState = None) -> np.ndarray:
        """Draw rows.

        Parameters
        ----------
        n_samples : int, default=1

        random_state : int, RandomState instance or None, default=None

        Returns
        -------
        Z : ndarray of shape (n_samples, n_features)
            float64, in random order.
        """
        check_integer("n_samples", n_samples, 1)
        mixture = self.mixture.at(torch.float64, score_device(self.device))
        Z = mixture.sample(int(n_samples), seed_from(random_state)).cpu().numpy()
        lower, upper = self.bounds_
        for j in np.flatnonzero(self._bounds.bounded).tolist():
            Z[:, j] = self._bounds.inverse_transform(Z[:, j], j)
        return np.clip(Z, np.nextafter(lower, upper), np.nextafter(upper, lower))

    def to_torch(self, dtype: torch.dtype = torch.float32) -> TorchDensity:
        """The density as a torch module, differentiable in its samples.

        Parameters
        ----------
        dtype : torch.float32 or torch.float64, default=torch.float32
            Precision in which components are computed.

        Returns
        -------
        module : torch.nn.Module
            ``module.log_prob(z)``, or ``module(z)``, is what :meth:`score_samples` returns, up to
            rounding, for a Tensor. It is a copy on the CPU, with frozen parameters.
        """
        check_precision(dtype)
        return TorchDensity(self.mixture, ColumnMap.of_bounds(self._bounds), dtype)

    @cached_property
    def _bounds(self) -> Bounds:
        """The maps of features with bounds, which end there."""
        return Bounds(self.bounds_, np.zeros((2, self.n_features_in_)))

    def _unbounded(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows as flows see them, and log-determinants, -inf where there is no density."""
        bounds, U, log_det = self._bounds, rows.copy(), np.zeros(len(rows))
        for j in np.flatnonzero(bounds.bounded).tolist():
            U[:, j], own = bounds.transform(rows[:, j].astype(np.float64), j)
            log_det += np.where(bounds.holds(rows[:, j], j), -np.inf, own)
        log_det[bounds.excludes(rows)] = -np.inf
        return U, log_det.astype(rows.dtype)

    def to_plain(self) -> dict[str, Any]:
        """The density as JSON values and arrays."""
        return {
            "mixture": self.mixture.to_plain(),
            "history": self.history.to_plain(),
            **{name: getattr(self, name) for name in _NUMBERS},
            "parameters": self.parameters,
            "seed": self.seed,
            "device": str(self.device),
        }

    def __getstate__(self) -> dict[str, Any]:
        """State for pickles and copies: plain, so that they name no module of this package."""
        return self.to_plain()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(vars(self.from_plain(state, check=False)))

    @classmethod
    def from_plain(cls, plain: dict[str, Any], *, check: bool = True) -> Self:
        """Inverse of :meth:`to_plain`.

        Parameters
        ----------
        plain : dict

        check : bool, default=True
            Whether the arrays of components are compared with their architectures, as those of
            a file must be.

        Raises
        ------
        ValueError
            If the parts do not fit together.
        """
        check_device(plain["device"])
        mixture = combination_from_plain(plain["mixture"], check=check)
        if not isinstance(mixture, FittedMixture) or mixture.n_context:
            raise ValueError("it is no mixture, or its components need a context")
        history = History.from_plain(plain["history"], len(mixture.components))
        if history.validation_scores is None:
            raise ValueError("the scores of its rounds are missing")
        parameters = dict(plain["parameters"])
        limits = np.array(parameters["bounds"], dtype=np.float64)
        if limits.shape != (2, mixture.n_features) or not (limits[0] < limits[1]).all():
            raise ValueError("its bounds do not fit its columns")
        return cls(
            mixture=mixture,
            history=history,
            **{name: float(plain[name]) for name in _NUMBERS},
            parameters=parameters,
            seed=int(plain["seed"]),
            device=plain["device"],
        )
