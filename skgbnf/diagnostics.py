"""What to hold a fitted density against: the best Gaussian, and the Jacobians of its maps.

References
----------
Jacobian Determinant of Normalizing Flows. H. Liao, J. He, 2021. https://arxiv.org/abs/2102.06539
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted
from torch import Tensor
from torch.distributions import Transform
from zuko.lazy import LazyDistribution

from skgbnf._device import computing_on
from skgbnf._random import RandomState
from skgbnf.plotting.axes import REFERENCE, axes_or_new, import_pyplot
from skgbnf.table.checks import checked_rows, checked_values
from skgbnf.table.gaussian import gaussian_score
from skgbnf.validation import (
    check_integer,
    check_spread,
    check_weights,
    score_device,
    seed_from,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BAND = (0.05, 0.5, 0.95)
_NEEDED = ("estimators_", "estimator_weights_", "coordinates_")


def gaussian_reference_score(
    X: ArrayLike, n_components: int | None = None, sample_weight: ArrayLike | None = None
) -> float:
    r"""Best mean log-likelihood that a Gaussian can reach on X.

    It is what the best affine map onto a standard normal reaches, whatever its parameters:

    .. math:: -\frac{1}{2} (d \log 2 \pi e + \sum_i \log \lambda_i),

    where :math:`\lambda_i` are the eigenvalues of the covariance of the rows, the sum of squares
    over the number of rows. A flow that stays below has not been trained to its end; one above has
    found more than means and covariances.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)

    n_components : int or None, default=None
        From 0 to n_features. With a number q, the best that probabilistic principal component
        analysis with q components can reach: the other eigenvalues are replaced by their mean. None
        is the same as n_features.

    sample_weight : array-like of shape (n_samples,), default=None
        A weight of two counts as a row twice.

    Returns
    -------
    score : float
        In nats per row, in the units of X. inf where the likelihood has no bound: a column is
        constant, columns are linear functions of each other, or there are no more rows than
        columns; with `n_components`, where no more than these are needed to hold all rows.

    Raises
    ------
    TypeError, ValueError
        If X is no finite numeric table, or an argument is out of its range.

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
    """How much the maps of a fitted density stretch and squeeze, component by component.

    All maps lead from standardised rows, in which flows are trained, to their base. A component
    without a map, such as a mixture of Gaussians, has NaN everywhere. Made by
    :func:`jacobian_report`.

    Attributes
    ----------
    families : tuple of str
        Families of the components.

    weights : ndarray of shape (n_components,)
        Their weights in the mixture.

    singular_values : ndarray of shape (n_components, n_samples, n_features)
        Of the Jacobian of each map in each row, the largest first. Those of the inverse map, where
        the row goes, are one over these.

    log_det : ndarray of shape (n_components, n_samples)
        Logarithm of the determinant, as the density uses it; in exact arithmetic the sum of the
        logarithms of the singular values.

    round_trip_error : ndarray of shape (n_components, n_samples)
        Largest difference of a column from its value, after the map and its inverse.
    """

    families: tuple[str, ...]
    weights: np.ndarray
    singular_values: np.ndarray
    log_det: np.ndarray
    round_trip_error: np.ndarray

    @property
    def inverse_singular_values(self) -> np.ndarray:
        """Singular values of the inverse maps, the largest first, as `singular_values`."""
        return 1 / self.singular_values[..., ::-1]

    @property
    def condition(self) -> np.ndarray:
        """Largest over smallest singular value, shape (n_components, n_samples)."""
        return self.singular_values[..., 0] / self.singular_values[..., -1]

    def __str__(self) -> str:
        header = (
            f"{'component':<22}{'weight':>7}{'stretch':>16}{'of the inverse':>16}{'condition':>16}"
            f"{'log-det':>16}{'round trip':>12}"
        )
        levels = f"{'':<29}{4 * '50%, 95%'.rjust(16)}{'max':>12}"
        return "\n".join([header, levels, *map(self._line, range(len(self.families)))])

    def _line(self, k: int) -> str:
        """The numbers of one component, or that it has no map."""
        start = f"{k + 1:>3} {self.families[k]:<18}{self.weights[k]:>7.3f}"
        if np.isnan(self.log_det[k]).all():
            return f"{start}  no map"
        largest = self.singular_values[k, :, 0], self.inverse_singular_values[k, :, 0]
        measured = (*largest, self.condition[k], self.log_det[k])
        pairs = (np.quantile(values, (0.5, 0.95)) for values in measured)
        texts = "".join(f"{f'{middle:.3g}, {high:.3g}':>16}" for middle, high in pairs)
        return f"{start}{texts}{self.round_trip_error[k].max():>12.1e}"

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw the singular values of each map, ordered: medians over rows, and 5% to 95%.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; by default those of a new figure.

        Returns
        -------
        ax : matplotlib Axes

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        ax = axes_or_new(import_pyplot(f"{type(self).__name__}.plot"), ax)
        places = np.arange(1, self.singular_values.shape[2] + 1)
        for k, family in enumerate(self.families):
            if np.isnan(self.log_det[k]).all():
                continue
            low, middle, high = np.quantile(self.singular_values[k], _BAND, axis=0)
            (line,) = ax.plot(places, middle, marker="o", label=f"{k + 1}: {family}")
            ax.fill_between(places, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
        ax.axhline(1, color=REFERENCE, linestyle=":", linewidth=1)
        ax.set(yscale="log", xlabel="singular value, by size", ylabel="stretch of the map")
        ax.locator_params(axis="x", integer=True)
        if ax.lines[1:]:
            ax.legend(title="component")
        return ax


def jacobian_report(
    estimator: Any,
    X: ArrayLike,
    *,
    n_samples: int | None = 500,
    random_state: RandomState = None,
) -> JacobianReport:
    """Measure the Jacobians of the maps of a fitted density in rows of X.

    A map that stretches a lot somewhere, or whose inverse does, loses digits on the way back and
    forth, and is hard to train further; `lipschitz_penalty` holds both down.

    Parameters
    ----------
    estimator : GradientBoostedFlowDensity
        Fitted.

    X : array-like of shape (n_samples, n_features)
        Rows, in the units seen in fit, within `bounds`.

    n_samples : int or None, default=500
        Rows to draw from X where it has more; None takes all.

    random_state : int, RandomState instance or None, default=None
        Governs which rows are drawn.

    Returns
    -------
    report : JacobianReport
        ``print(report)`` shows a table, ``report.plot()`` draws it. It is computed in float64, and
        in standardised coordinates, so that the units of columns do not count.

    Raises
    ------
    TypeError
        If the estimator is no boosted density of a table, or an argument has the wrong type.

    ValueError
        If X is no table like that seen in fit, or has rows outside the bounds.

    sklearn.exceptions.NotFittedError
        If the estimator is not fitted.

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
    ...     2, flow="maf", init="student_t", max_iter=5, random_state=0
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
    missing = [name for name in _NEEDED if not hasattr(estimator, name)]
    if missing:
        raise TypeError(
            "estimator must be a GradientBoostedFlowDensity; "
            f"{type(estimator).__name__} has no {', '.join(missing)}."
        )
    rows = checked_rows(estimator, X, reset=False, dtype=np.float64)
    if n_samples is not None:
        check_integer("n_samples", n_samples, 1)
        if n_samples < len(rows):
            rng = np.random.default_rng(seed_from(random_state))
            rows = rows[rng.choice(len(rows), n_samples, replace=False)]
    coordinates = estimator.coordinates_
    if coordinates.bounds.excludes(rows).any():
        raise ValueError("X: a row outside the bounds has no image under the maps.")
    device = score_device(estimator.device)
    with torch.inference_mode(False), computing_on(device):
        z = torch.from_numpy(coordinates.transform(rows)[0]).to(device)
        modules = (fitted.module(torch.float64, device) for fitted in estimator.estimators_)
        measured = [_measure(module, z) for module in modules]
    singular_values, log_det, round_trip = map(np.stack, zip(*measured, strict=True))
    kinds = [fitted.architecture.kind for fitted in estimator.estimators_]
    families = tuple(getattr(kind, "__name__", str(kind)) for kind in kinds)
    return JacobianReport(
        families, estimator.estimator_weights_.copy(), singular_values, log_det, round_trip
    )


def _measure(component: LazyDistribution, z: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Singular values, log-determinants and round-trip errors of one map; NaN without a map."""
    transform = getattr(component(), "transform", None)
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
    """Jacobian of a map in each row, shape (n_samples, n_features, n_features), and the images.

    A column of the image at a time: rows do not depend on each other, so that the gradient of
    its sum holds one row of every Jacobian.
    """
    with torch.enable_grad():
        z = z.clone().requires_grad_()
        image = transform(z)
        rows = [torch.autograd.grad(c.sum(), z, retain_graph=True)[0] for c in image.unbind(dim=1)]
    return torch.stack(rows, dim=1), image.detach()
