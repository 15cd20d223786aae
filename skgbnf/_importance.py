"""Importance sampling whose largest weights are smoothed by a generalised Pareto distribution."""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

_FEWEST_DRAWS = 25
_FEWEST_IN_TAIL = 5
_PRIOR_DRAWS, _PRIOR_SHAPE = 10, 0.5
_FIRST_QUARTILE = 0.25
_PRIOR_SCALE = 3.0


@dataclass(frozen=True, eq=False)
class ImportanceReport:
    """What draws from a density q say of an unnormalised density p.

    Attributes
    ----------
    log_weights : ndarray of shape (n_draws,)
        Logarithms of the smoothed weights of the draws, which sum to 1.

    effective_sample_size : float
        ``1 / sum(weights ** 2)``: as many draws from p would estimate a mean about as well.

    pareto_k : float
        Shape k of the tail of the weights. Up to 0.5 their variance is finite, up to 0.7 estimates
        are reliable in practice; above 1 even the mean is infinite. inf if the tail has too few
        different weights to tell, 0 if all weights are equal.

    log_evidence : float
        Logarithm of the integral of p, in nats.

    log_evidence_error : float
        Its standard error, in nats; too small if `pareto_k` is above 0.7.
    """

    log_weights: np.ndarray = field(repr=False)
    effective_sample_size: float
    pareto_k: float
    log_evidence: float
    log_evidence_error: float


def importance_report(log_ratios: ArrayLike) -> ImportanceReport:
    r"""How well draws from a density q represent an unnormalised density p.

    The weights p / q of the draws turn means over q into means over p, and their own mean is the
    integral of p. The largest of them, ``min(n / 5, 3 sqrt(n))`` of n, are replaced by the expected
    order statistics of a generalised Pareto distribution fitted to them [1]_, by the estimate of
    [2]_. Its shape tells whether the draws can be trusted [3]_.

    Parameters
    ----------
    log_ratios : array-like of shape (n_draws,)
        :math:`\log p(z) - \log q(z)` of at least 25 independent draws z from q, in nats; -inf
        where p is zero.

    Returns
    -------
    report : ImportanceReport
        Smoothed weights, effective sample size, shape of the tail, evidence.

    Raises
    ------
    ValueError
        If there are fewer than 25 ratios, one is NaN or inf, or all are -inf.

    References
    ----------
    .. [1] Pareto Smoothed Importance Sampling. A. Vehtari, D. Simpson, A. Gelman, Y. Yao, J. Gabry,
       2024. https://arxiv.org/abs/1507.02646
    .. [2] A New and Efficient Estimation Method for the Generalized Pareto Distribution. J. Zhang,
       M. A. Stephens, 2009. https://doi.org/10.1198/tech.2009.08017
    .. [3] Yes, but Did It Work?: Evaluating Variational Inference. Y. Yao, A. Vehtari, D. Simpson,
       A. Gelman, 2018. https://arxiv.org/abs/1802.02538

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.stats import norm
    >>> from skgbnf.diagnostics import importance_report
    >>> z = np.random.default_rng(0).normal(scale=1.5, size=4000)
    >>> log_p = np.log(2) + norm.logpdf(z)
    >>> report = importance_report(log_p - norm.logpdf(z, scale=1.5))
    >>> round(float(np.exp(report.log_evidence)), 1), bool(report.pareto_k < 0.5)
    (2.0, True)
    """
    ratios = _checked(log_ratios)
    largest = ratios.max()
    weights = np.exp(ratios - largest)
    smoothed, shape = _smoothed(weights)
    mean, share = smoothed.mean(), smoothed / smoothed.sum()
    with np.errstate(divide="ignore"):
        log_weights = np.log(share)
    return ImportanceReport(
        log_weights=log_weights,
        effective_sample_size=float(1 / np.square(share).sum()),
        pareto_k=shape,
        log_evidence=float(largest + math.log(mean)),
        log_evidence_error=float(smoothed.std(ddof=1) / mean / math.sqrt(len(smoothed))),
    )


def _checked(log_ratios: ArrayLike) -> np.ndarray:
    """The ratios in float64; ValueError unless they can be weights."""
    ratios = np.asarray(log_ratios, dtype=np.float64)
    if ratios.ndim != 1 or len(ratios) < _FEWEST_DRAWS:
        raise ValueError(
            f"log_ratios must be of one dimension and hold at least {_FEWEST_DRAWS} values, got "
            f"shape {ratios.shape}."
        )
    if not (ratios < np.inf).all() or np.isneginf(ratios).all():
        raise ValueError("log_ratios must be numbers below inf, not NaN, and not all -inf.")
    return ratios


def _smoothed(weights: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights with the tail smoothed, none of them above the largest, and the shape of the tail."""
    n = len(weights)
    n_tail = math.ceil(min(n / 5, 3 * math.sqrt(n)))
    order = np.argsort(weights)
    cutoff, tail = weights[order[-n_tail - 1]], order[-n_tail:]
    excess = weights[tail] - cutoff
    if np.ptp(weights) < 1e-6 * weights.max():  # within the rounding of single precision
        return weights, 0.0
    if len(np.unique(excess[excess > 0])) < _FEWEST_IN_TAIL:
        return weights, math.inf
    shape, scale = fit_generalised_pareto(excess[excess > 0])
    levels = (np.arange(n_tail) + 0.5) / n_tail
    smoothed = weights.copy()
    smoothed[tail] = np.minimum(cutoff + _quantiles(levels, shape, scale), weights.max())
    return smoothed, shape


def fit_generalised_pareto(excess: np.ndarray) -> tuple[float, float]:
    """Shape and scale of a generalised Pareto distribution, from positive values, ascending.

    The distribution function is ``1 - (1 + k x / s) ** (-1 / k)``. Given theta = -k / s the best k
    has a closed form; theta is averaged over a grid, weighted by the profile likelihood and a weak
    prior (Zhang and Stephens, 2009). Ten draws of k = 0.5 are added to it (Vehtari et al., 2024).
    """
    n = len(excess)
    n_grid = 30 + int(math.sqrt(n))
    quartile = excess[int(_FIRST_QUARTILE * n + 0.5) - 1]
    grid = 1 / excess[-1] + (
        1 - np.sqrt(n_grid / (np.arange(n_grid) + 0.5))
    ) / (_PRIOR_SCALE * quartile)  # fmt: skip
    shapes = _shape_given(grid, excess)
    log_likelihood = n * (np.log(-grid / shapes) - shapes - 1)
    posterior = np.exp(log_likelihood - log_likelihood.max())
    theta = float(posterior @ grid / posterior.sum())
    shape = float(_shape_given(np.array([theta]), excess)[0])
    scale = -shape / theta
    return (n * shape + _PRIOR_DRAWS * _PRIOR_SHAPE) / (n + _PRIOR_DRAWS), scale


def _shape_given(theta: np.ndarray, excess: np.ndarray) -> np.ndarray:
    """The most likely shape for each value of -k / s."""
    return np.log1p(-theta[:, None] * excess).mean(axis=1)


def _quantiles(levels: np.ndarray, shape: float, scale: float) -> np.ndarray:
    """Quantiles of a generalised Pareto distribution."""
    exponent = -np.log1p(-levels)
    return scale * (np.expm1(shape * exponent) / shape if shape else exponent)
