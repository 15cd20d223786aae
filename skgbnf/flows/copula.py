"""Base distributions with chosen marginals, independent or joined by a Gaussian copula."""

from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, constraints
from zuko.lazy import LazyDistribution

from skgbnf.flows.broadcasting import per_network
from skgbnf.flows.interfaces import Stackable
from skgbnf.flows.marginals import MARGINALS, Marginal, log_normal, make_marginal
from skgbnf.flows.tails import SMALLEST_DF, fit_tails
from skgbnf.flows.weighted import weighted_quantiles

COPULAS = ("independence", "gaussian")
"""Names of copulas."""

_START_DF = 10.0
_NO_BATCH = torch.Size()
_LEAST_ABOVE = 0.01
# Above, the difference of the logarithms of two gamma functions is lost in float32.
_LARGEST_GIVEN_DF = 1000.0


@dataclass(frozen=True)
class CopulaBase:
    """Base distribution of flows: one marginal per feature, and a copula.

    Parameters
    ----------
    copula : {"independence", "gaussian"}, default="independence"
        Dependence between features. "gaussian": their normal scores have a correlation matrix,
        which is learned.

    marginals : {"student_t", "laplace", "normal"} or tuple of these, default="student_t"
        Marginal of all features, or of each. Location and scale are left to the flow.

    df : "auto", "learn", float or tuple of float, default="auto"
        Degrees of freedom of Student t marginals, for all features or for each. "auto": the tail
        index of the heavier side of the feature in the training samples, then fixed. "learn":
        starts there and is learned, above 1. Numbers must lie between 0.6 and 1000; those of
        features with another marginal are not used.

    Raises
    ------
    TypeError, ValueError
        If a value is none of these.

    Notes
    -----
    Linear layers mix features, and a mixture of features has the heaviest of their tails. For
    features with different tails use ``tail="transform"`` of :class:`GradientBoostedFlowDensity`.

    References
    ----------
    Copula-Based Normalizing Flows. M. Laszkiewicz, J. Lederer, A. Fischer, 2021.
    https://arxiv.org/abs/2107.07352

    Marginal Tail-Adaptive Normalizing Flows. M. Laszkiewicz, J. Lederer, A. Fischer, 2022.
    https://arxiv.org/abs/2206.10311

    Examples
    --------
    >>> from skgbnf import CopulaBase
    >>> CopulaBase(df=(2.0, 5))
    CopulaBase(copula='independence', marginals='student_t', df=(2.0, 5.0))
    >>> CopulaBase(df=3) == CopulaBase(df=3.0)
    True
    """

    __module__ = "skgbnf"  # the path in pickles, which stays wherever the class moves

    copula: str = "independence"
    marginals: str | tuple[str, ...] = "student_t"
    df: str | float | tuple[float, ...] = "auto"

    def __post_init__(self) -> None:
        if not isinstance(self.marginals, str):
            object.__setattr__(self, "marginals", _marginal_names(_unpacked(self.marginals)))
        if not isinstance(self.df, str):
            object.__setattr__(self, "df", _numbers(_unpacked(self.df)))
        _check_name("copula", self.copula, COPULAS)
        for name in self._names():
            _check_name("marginals", name, MARGINALS)
        if isinstance(self.df, str):
            _check_name("df", self.df, ("auto", "learn"))

    def build(self, n_features: int) -> "CopulaDensity":
        """Build the untrained base.

        Parameters
        ----------
        n_features : int
            Number of features.

        Returns
        -------
        base : CopulaDensity

        Raises
        ------
        ValueError
            If the number of marginals or of degrees of freedom is not `n_features`.
        """
        self.check_columns(n_features)
        return CopulaDensity(n_features, self)

    def check_columns(self, n_features: int) -> None:
        """Raise ValueError unless marginals and degrees of freedom are for `n_features`."""
        for name in ("marginals", "df"):
            value = getattr(self, name)
            if isinstance(value, tuple) and len(value) != n_features:
                raise ValueError(
                    f"base: {name} holds {len(value)} entries for {n_features} columns, got "
                    f"{value!r}."
                )

    def _names(self) -> tuple[str, ...]:
        return (self.marginals,) if isinstance(self.marginals, str) else self.marginals

    def columns_by_marginal(self, n_features: int) -> dict[str, list[int]]:
        """Features of each marginal."""
        names = self._names() * (n_features if isinstance(self.marginals, str) else 1)
        return {name: [i for i, n in enumerate(names) if n == name] for name in sorted({*names})}


def _unpacked(values: Any) -> object:
    """Values of an array as plain ones, so that a base compares and hashes."""
    return values.tolist() if hasattr(values, "tolist") else values


def _marginal_names(values: object) -> tuple[Any, ...]:
    if not isinstance(values, Iterable):
        raise TypeError(f"base: marginals must be a name or a sequence of names, got {values!r}.")
    return tuple(values)


def _check_name(field: str, value: object, allowed: tuple[str, ...]) -> None:
    if not isinstance(value, str):
        raise TypeError(f"base: {field} must be one of {allowed}, got {value!r}.")
    if value not in allowed:
        raise ValueError(f"base: {field} must be one of {allowed}, got {value!r}.")


def _numbers(df: object) -> float | tuple[float, ...]:
    """Degrees of freedom as plain numbers."""
    values = tuple(df) if isinstance(df, Iterable) else (df,)
    if any(isinstance(value, bool) or not isinstance(value, Real) for value in values):
        raise TypeError(f'base: df must be "auto", "learn" or numbers, got {df!r}.')
    if not all(SMALLEST_DF <= value <= _LARGEST_GIVEN_DF for value in values):
        raise ValueError(
            f"base: df must lie in [{SMALLEST_DF}, {_LARGEST_GIVEN_DF:g}], got {df!r}; beyond, a "
            'Student t is a "normal".'
        )
    plain = tuple(float(value) for value in values)
    return plain if isinstance(df, Iterable) else plain[0]


class CopulaDensity(LazyDistribution, Stackable):
    """Module of a :class:`CopulaBase`.

    Parameters
    ----------
    n_features : int
        Number of features.

    spec : CopulaBase
        Copula, marginals and degrees of freedom.
    """

    def __init__(self, n_features: int, spec: CopulaBase) -> None:
        super().__init__()
        self._marginals = spec.columns_by_marginal(n_features)
        self.register_buffer("scale", torch.ones(n_features))
        self._estimated = isinstance(spec.df, str)
        start = torch.full((n_features,), _START_DF)
        if not self._estimated:
            start = torch.tensor(spec.df).expand(n_features).clone()
        if spec.df == "learn" and "student_t" in self._marginals:
            self.raw_df = nn.Parameter(_raw(start))
        else:
            self.register_buffer("fixed_df", start)
        if spec.copula == "gaussian":
            self.lower = nn.Parameter(torch.zeros(n_features, n_features))

    @property
    def df(self) -> Tensor:
        """Degrees of freedom of each feature, of shape (n_features,)."""
        if hasattr(self, "raw_df"):
            return 1.0 + nn.functional.softplus(self.raw_df)
        return self.fixed_df

    @torch.no_grad()
    def initialise(self, x: Tensor, z: Tensor, weights: Tensor) -> None:
        """Data-dependent initialisation of degrees of freedom, unless given, and of scales.

        Parameters
        ----------
        x : Tensor of shape (n_samples, n_features)
            Samples, to estimate tail indices from.

        z : Tensor of shape (n_samples, n_features)
            Their images behind the first linear layer; the quartiles give the scales.

        weights : Tensor of shape (n_samples,)
            Sample weights.
        """
        if self._estimated and "student_t" in self._marginals:
            df = fit_tails(x, weights).df.amin(dim=0)
            if hasattr(self, "raw_df"):
                self.raw_df.copy_(_raw(df))
            else:
                self.fixed_df.copy_(df)
        self.scale.fill_(1.0)
        lower, upper = weighted_quantiles(z, weights, z.new_tensor([0.25, 0.75])).T
        quartile = self().quantile(z.new_full((1, z.shape[1]), 0.75)).squeeze(0)
        ratio = (upper - lower) / (2 * quartile)
        self.scale.copy_(torch.where(ratio > 0, ratio, 1.0))

    def forward(self, c: Tensor | None = None) -> Distribution:
        df, scale = per_network(self.df, 1), per_network(self.scale, 1)
        marginals = [(make_marginal(name, df[..., at]), at) for name, at in self._marginals.items()]
        return _Copula(marginals, self._factor() if hasattr(self, "lower") else None, scale)

    def _factor(self) -> Tensor:
        """Cholesky factor of the correlation matrix; its rows have length 1."""
        lower = per_network(self.lower, 2)
        identity = torch.eye(lower.shape[-1], dtype=lower.dtype, device=lower.device)
        rows = torch.tril(lower, -1) + identity
        return rows / rows.norm(dim=-1, keepdim=True)


def _raw(df: Tensor) -> Tensor:
    """Unconstrained parameter of degrees of freedom above 1."""
    above = (df - 1.0).clamp(min=_LEAST_ABOVE)
    return above + (-torch.expm1(-above)).log()


class _Copula(Distribution):
    """Features in groups of one marginal each; a Cholesky factor gives their correlation."""

    support = constraints.real_vector
    has_rsample = False

    def __init__(
        self,
        marginals: list[tuple[Marginal, list[int]]],
        factor: Tensor | None,
        scale: Tensor,
        batch_shape: torch.Size = _NO_BATCH,
    ) -> None:
        super().__init__(batch_shape, scale.shape[-1:], validate_args=False)
        self._marginals, self._factor, self._scale = marginals, factor, scale

    def expand(
        self, batch_shape: torch.Size | list[int] | tuple[int, ...], _instance: None = None
    ) -> "_Copula":
        return _Copula(self._marginals, self._factor, self._scale, torch.Size(batch_shape))

    def log_prob(self, x: Tensor) -> Tensor:
        x = x / self._scale
        log_prob = self._by_marginal("log_density", x).sum(-1) - self._scale.log().sum(-1)
        if self._factor is None:
            return log_prob
        scores = self._by_marginal("scores", x)
        white = torch.linalg.solve_triangular(self._factor, scores.unsqueeze(-1), upper=False)
        joint = log_normal(white.squeeze(-1)) - log_normal(scores)
        return log_prob + joint.sum(-1) - self._factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        with torch.no_grad():
            like = self._scale.expand(self._extended_shape(torch.Size(sample_shape)))
            if self._factor is None:
                return self._scale * self._by_marginal("draw", like)
            scores = torch.randn_like(like) @ self._factor.T
            return self._scale * self._by_marginal("from_scores", scores)

    def quantile(self, levels: Tensor) -> Tensor:
        """Quantiles of each feature, of shape (n_levels, n_features)."""
        return self._scale * self._by_marginal("from_scores", torch.special.ndtri(levels))

    def _by_marginal(self, method: str, values: Tensor) -> Tensor:
        """Apply a method of each marginal to its features; results in the order of features."""
        parts = [getattr(marginal, method)(values[..., at]) for marginal, at in self._marginals]
        order = [column for _, columns in self._marginals for column in columns]
        return torch.cat(parts, dim=-1)[..., torch.tensor(order, device=values.device).argsort()]
