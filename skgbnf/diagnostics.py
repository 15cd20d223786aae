"""Diagnostics of a density: the best Gaussian, Jacobians of its maps, importance weights.

References
----------
Jacobian Determinant of Normalizing Flows. H. Liao, J. He, 2021. https://arxiv.org/abs/2102.06539
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted
from torch import Tensor
from torch.distributions import Transform
from zuko.lazy import LazyDistribution

from skgbnf._checks import check_integer
from skgbnf._device import computing_on, score_device
from skgbnf._importance import ImportanceReport, importance_report
from skgbnf._random import RandomState, seed_from
from skgbnf.table.checks import checked_rows, checked_values
from skgbnf.table.gaussian import gaussian_score
from skgbnf.table.weights import check_spread, check_weights

__all__ = [
    "ImportanceReport",
    "JacobianReport",
    "gaussian_reference_score",
    "importance_report",
    "jacobian_report",
]

_NEEDED = ("combination", "coordinates", "table")


def gaussian_reference_score(
    X: ArrayLike, n_components: int | None = None, sample_weight: ArrayLike | None = None
) -> float:
    r"""Mean log-likelihood of X under the Gaussian that maximises it.

    It is the best score of any affine flow onto a standard normal:

    .. math:: -\frac{1}{2} (d \log 2 \pi e + \sum_i \log \lambda_i),

    where :math:`\lambda_i` are the eigenvalues of the covariance of X, with the number of samples
    as divisor. A flow below it is not trained to the end; a flow above it has found more than means
    and covariances.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Samples.

    n_components : int or None, default=None
        Number q of components, from 0 to n_features, for the best score of probabilistic principal
        component analysis instead: all eigenvalues but the q largest are replaced by their mean.
        None is the same as n_features.

    sample_weight : array-like of shape (n_samples,), default=None
        Sample weights: a weight of 2 counts as the sample twice.

    Returns
    -------
    score : float
        In nats per sample, in the units of X. inf if the likelihood has no bound: a feature is
        constant or a linear function of others, or there are no more samples than features; with
        `n_components`, if that many components contain all samples.

    Raises
    ------
    TypeError, ValueError
        If X is not a finite numeric table, or an argument is out of its range.

    References
    ----------
    Jacobian Determinant of Normalizing Flows. H. Liao, J. He, 2021.
    https://arxiv.org/abs/2102.06539

    Probabilistic Principal Component Analysis. M. E. Tipping, C. M. Bishop, 1999.
    https://doi.org/10.1111/1467-9868.00196

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from sklearn.mixture import GaussianMixture
    >>> from skgbnf.diagnostics import gaussian_reference_score
    >>> X = load_wine().data
    >>> round(gaussian_reference_score(X), 3)
    -18.714
    >>> round(GaussianMixture(1, reg_covar=0.0).fit(X).score(X), 3)
    -18.714
    >>> round(gaussian_reference_score(X, n_components=2), 3)
    -29.19
    """
    rows = checked_values(X, dtype=np.float64)
    weights = check_weights(sample_weight, len(rows))
    if n_components is not None:
        check_integer("n_components", n_components, 0)
        if n_components > rows.shape[1]:
            raise ValueError(
                f"n_components must be at most the {rows.shape[1]} columns of X, "
                f"got {n_components}."
            )
    check_spread(rows[weights > 0], range(rows.shape[1]))
    return gaussian_score(rows[weights > 0], weights[weights > 0], n_components)


@dataclass(frozen=True, eq=False)
class JacobianReport:
    """Singular values and log-determinants of the Jacobians of a fitted density's maps.

    The map of a component leads from standardised samples to the base. A component without a map,
    such as a Gaussian mixture, has NaN everywhere. Returned by :func:`jacobian_report`;
    ``print(report)`` shows a table.

    Attributes
    ----------
    families : tuple of str
        Families of the components.

    weights : ndarray of shape (n_components,)
        Mixture weights of the components.

    singular_values : ndarray of shape (n_components, n_samples, n_features)
        Singular values of the Jacobian of each map at each sample, descending. Those of the inverse
        map, at the image of the sample, are their reciprocals.

    log_det : ndarray of shape (n_components, n_samples)
        Log-determinant of each Jacobian as used in the density; in exact arithmetic the sum of the
        logs of the singular values.

    round_trip_error : ndarray of shape (n_components, n_samples)
        Largest error of a feature after the map and its inverse, in standard deviations.

    See Also
    --------
    skgbnf.plotting.JacobianDisplay : Plot of the singular values.
    """

    families: tuple[str, ...]
    weights: np.ndarray
    singular_values: np.ndarray
    log_det: np.ndarray
    round_trip_error: np.ndarray

    @property
    def inverse_singular_values(self) -> np.ndarray:
        """Singular values of the inverse maps, descending, of the shape of `singular_values`."""
        return 1 / self.singular_values[..., ::-1]

    @property
    def condition(self) -> np.ndarray:
        """Condition numbers: largest over smallest singular value, (n_components, n_samples)."""
        return self.singular_values[..., 0] / self.singular_values[..., -1]

    def __str__(self) -> str:
        header = (
            f"{'component':<22}{'weight':>7}{'stretch':>16}{'of the inverse':>16}{'condition':>16}"
            f"{'log-det':>16}{'round trip':>12}"
        )
        levels = f"{'':<29}{4 * '50%, 95%'.rjust(16)}{'max':>12}"
        return "\n".join([header, levels, *map(self._line, range(len(self.families)))])

    def _line(self, k: int) -> str:
        """Line of the table for one component."""
        start = f"{k + 1:>3} {self.families[k]:<18}{self.weights[k]:>7.3f}"
        if np.isnan(self.log_det[k]).all():
            return f"{start}  no map"
        largest = self.singular_values[k, :, 0], self.inverse_singular_values[k, :, 0]
        measured = (*largest, self.condition[k], self.log_det[k])
        pairs = (np.quantile(values, (0.5, 0.95)) for values in measured)
        texts = "".join(f"{f'{middle:.3g}, {high:.3g}':>16}" for middle, high in pairs)
        return f"{start}{texts}{self.round_trip_error[k].max():>12.1e}"


def jacobian_report(
    estimator: Any,
    X: ArrayLike,
    *,
    n_samples: int | None = 500,
    random_state: RandomState = None,
) -> JacobianReport:
    """Compute the Jacobians of the maps of a fitted density, at samples of X.

    A map that stretches strongly somewhere, or whose inverse does, loses precision and is hard to
    train further. `lipschitz_penalty` of :class:`~skgbnf.GradientBoostedFlowDensity` reduces both.

    Parameters
    ----------
    estimator : GradientBoostedFlowDensity
        Fitted.

    X : array-like of shape (n_samples, n_features)
        Samples, in the units seen in fit, within `bounds`.

    n_samples : int or None, default=500
        Number of samples drawn from X if it has more; None takes all.

    random_state : int, RandomState instance or None, default=None
        Determines which samples are drawn.

    Returns
    -------
    report : JacobianReport
        Computed in float64 and for standardised samples, so it does not depend on the units of X.

    Raises
    ------
    TypeError
        If the estimator is not a GradientBoostedFlowDensity, or an argument has the wrong type.

    ValueError
        If X does not have the features seen in fit, or a sample lies outside the bounds.

    sklearn.exceptions.NotFittedError
        If the estimator is not fitted.

    See Also
    --------
    skgbnf.plotting.JacobianDisplay : Plot of the singular values.

    References
    ----------
    Jacobian Determinant of Normalizing Flows. H. Liao, J. He, 2021.
    https://arxiv.org/abs/2102.06539

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from skgbnf import GradientBoostedFlowDensity
    >>> from skgbnf.diagnostics import jacobian_report
    >>> X = load_wine().data[:, :3]
    >>> model = GradientBoostedFlowDensity(
    ...     2, flow="maf", init="student_t", max_iter=5, n_folds=None, random_state=0
    ... ).fit(X)
    >>> report = jacobian_report(model, X)
    >>> report.families
    ('student_t', 'maf')
    >>> report.singular_values.shape
    (2, 178, 3)
    >>> bool((report.round_trip_error[1] < 1e-9).all())
    True
    """
    check_is_fitted(estimator)
    fitted: Any = getattr(estimator, "fitted_", None)
    if not all(hasattr(fitted, name) for name in _NEEDED):
        raise TypeError(
            f"estimator must be a GradientBoostedFlowDensity, got {type(estimator).__name__}."
        )
    rows = checked_rows(estimator, X, reset=False, table=fitted.table, dtype=np.float64)
    if n_samples is not None:
        check_integer("n_samples", n_samples, 1)
        if n_samples < len(rows):
            rng = np.random.default_rng(seed_from(random_state))
            rows = rows[rng.choice(len(rows), n_samples, replace=False)]
    coordinates, combination = fitted.coordinates, fitted.combination
    if coordinates.bounds.excludes(rows).any():
        raise ValueError("X: a row outside the bounds has no image under the maps.")
    device = score_device(estimator.device)
    with torch.inference_mode(False), computing_on(device):
        z = torch.from_numpy(coordinates.transform(rows)[0]).to(device)
        measured = [_measure(module, z) for module in combination.at(z.dtype, device).components]
    singular_values, log_det, round_trip = map(np.stack, zip(*measured, strict=True))
    return JacobianReport(
        families=tuple(c.architecture.record.name for c in combination.components),
        weights=combination.weights.copy(),
        singular_values=singular_values,
        log_det=log_det,
        round_trip_error=round_trip,
    )


def _measure(component: LazyDistribution, z: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Singular values, log-determinants and round-trip errors of one map; NaN without a map."""
    transform = getattr(component(None), "transform", None)
    if transform is None:
        return np.full(z.shape, np.nan), np.full(len(z), np.nan), np.full(len(z), np.nan)
    jacobians, image = _jacobians(transform, z)
    with torch.no_grad():
        log_det = transform.log_abs_det_jacobian(z, image)
        try:
            round_trip = (transform.inv(image) - z).abs().amax(dim=1)
        except NotImplementedError:  # a user's map may know one direction only
            round_trip = torch.full_like(log_det, torch.nan)
    measured = torch.linalg.svdvals(jacobians), log_det, round_trip
    return tuple(tensor.cpu().numpy() for tensor in measured)


def _jacobians(transform: Transform, z: Tensor) -> tuple[Tensor, Tensor]:
    """Jacobians of a map, of shape (n_samples, n_features, n_features), and images of z.

    One feature of the image at a time: samples do not depend on each other, so the gradient of its
    sum holds one row of every Jacobian.
    """
    with torch.enable_grad():
        z = z.clone().requires_grad_()
        image = transform(z)
        rows = [torch.autograd.grad(c.sum(), z, retain_graph=True)[0] for c in image.unbind(dim=1)]
    return torch.stack(rows, dim=1), image.detach()
