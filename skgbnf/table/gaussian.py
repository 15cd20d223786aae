"""Score of the best Gaussian, in closed form."""

import math

import numpy as np

from skgbnf.table.standardisation import Standardisation


def gaussian_score(X: np.ndarray, weights: np.ndarray, n_components: int | None = None) -> float:
    """Weighted mean log-likelihood of samples under the Gaussian that maximises it.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Samples.

    weights : ndarray of shape (n_samples,)
        Sample weights, not negative and not all zero; only their ratios matter.

    n_components : int or None, default=None
        Components of probabilistic principal component analysis; None for any Gaussian.

    Returns
    -------
    score : float
        In nats, in the units of X; inf where the likelihood has no bound.
    """
    n_samples, n_features = X.shape
    units, share = Standardisation.from_rows(X, weights), weights / weights.sum()
    # A full covariance goes along with the scale of every column, and unit variances keep its
    # small eigenvalues exact; principal components depend on the ratios of the scales.
    full = n_components is None
    scale = np.ones(n_features) if full else units.scale / units.scale.max()
    Z = units.transform(X) * scale
    values = np.linalg.eigvalsh((share[:, None] * Z).T @ Z)[::-1].clip(min=0)
    if n_components is not None and n_components < n_features:
        values[n_components:] = values[n_components:].mean()
    # What rounding leaves of an eigenvalue of zero is below this.
    smallest = n_features * math.sqrt(n_samples) * np.finfo(np.float64).eps * values[0]
    if not values[-1] > smallest:
        return math.inf
    log_det = np.log(values).sum() + 2 * np.log(units.scale / scale).sum()
    return -0.5 * float(n_features * math.log(2 * math.pi * math.e) + log_det)
