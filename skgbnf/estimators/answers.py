"""What a fitted density answers: log-densities, scores, samples."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from skgbnf._checks import check_integer
from skgbnf._device import score_device
from skgbnf._random import RandomState, derive_seed, seed_from
from skgbnf.estimators.conditionals import scores_of_parts
from skgbnf.estimators.fitted import Evaluate, FittedDensity, of_all_rounds, of_each_round
from skgbnf.estimators.mixed import MixedCoordinates
from skgbnf.estimators.parts import PartAnswers
from skgbnf.estimators.scoring import checked_blocks, is_lazy, score_lazily
from skgbnf.table.weights import check_weights
from skgbnf.training.column_map import ColumnMap
from skgbnf.training.mixture import fold_log_prob
from skgbnf.training.torch_density import TorchDensity, check_precision

_GAP_KEY = 11


class DensityAnswers(PartAnswers):
    """Mixin of the methods of a fitted density."""

    fitted_: FittedDensity
    device: str | torch.device

    def score_samples(self, X: ArrayLike) -> np.ndarray | Any:
        """Log-density of each sample.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples, n_features)
            Samples. A memory map may be larger than memory; a dask array is scored lazily. Of a
            sample with missing values (NaN, None, NaT) the log-density of the others is returned,
            which is estimated after a fit to a table of numbers; see
            :meth:`conditional_score_samples` for its standard error.

        Returns
        -------
        log_density : ndarray, or dask array if X is one, of shape (n_samples,)
            In nats, in the units of X; float32 if X is, otherwise float64. Finite inside `bounds`,
            -inf outside, and for levels that were not seen in fit.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.

        ValueError
            If X is not a table with the features seen in fit, or holds infinite values.
        """
        check_is_fitted(self)
        if is_lazy(X):
            return score_lazily(self, X)
        if self._has_gaps(X):
            return scores_of_parts(self, self._part_rows(X))
        return self._log_densities(X, of_all_rounds)[0]

    def staged_score_samples(self, X: ArrayLike) -> Iterator[np.ndarray]:
        """Log-density of each sample after each round.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        Yields
        ------
        log_density : ndarray of shape (n_samples,)
            In nats, after round 1, 2 and so on; the last is that of :meth:`score_samples`.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.

        ValueError
            If X is not a finite numeric table with the features seen in fit.
        """
        check_is_fitted(self)
        yield from self._log_densities(X, of_each_round)

    def fold_score_samples(self, X: ArrayLike) -> np.ndarray:
        """Log-density of each sample under the mixture of each fold.

        The density of :meth:`score_samples` is the mean of those of the folds.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        log_density : ndarray of shape (`n_folds_`, n_samples)
            In nats. Of the samples of `fit`, the entries ``[row_folds_[i], i]`` are out-of-fold
            scores, by components that did not see sample i. Without folds, one row with the values
            of :meth:`score_samples`.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.

        ValueError
            If X is not a finite numeric table with the features seen in fit.
        """
        check_is_fitted(self)
        n_folds = self.fitted_.n_folds
        if n_folds == 1:
            return np.asarray(self.score_samples(X))[None]
        rows = np.asarray(X) if is_lazy(X) else X
        return self._log_densities(rows, partial(fold_log_prob, n_folds=n_folds))

    def score(
        self, X: ArrayLike, y: object = None, sample_weight: ArrayLike | None = None
    ) -> float:
        """Weighted mean log-density of the samples; higher is better.

        :class:`~sklearn.mixture.GaussianMixture` also returns the mean,
        :class:`~sklearn.neighbors.KernelDensity` the sum.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        y : None
            Ignored, present for the scikit-learn interface.

        sample_weight : array-like of shape (n_samples,), default=None
            Sample weights. A sample of weight 0 counts as absent.

        Returns
        -------
        score : float
            In nats per sample; -inf if a sample of positive weight lies outside `bounds`.
        """
        scores = np.asarray(self.score_samples(X), dtype=np.float64)
        weights = check_weights(sample_weight, len(scores))
        # A row of weight 0 counts as absent, also where it has no density.
        counted = weights > 0
        return float(np.average(scores[counted], weights=weights[counted]))

    def sample(self, n_samples: int = 1, random_state: RandomState = None) -> np.ndarray:
        """Draw samples from the fitted density, as an array.

        :meth:`sample_frame` returns them as a data frame.

        Parameters
        ----------
        n_samples : int, default=1
            Number of samples.

        random_state : int, RandomState instance or None, default=None
            Seed of the draws. The `random_state` of the constructor is for :meth:`fit` only.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            float64, in the units of the training samples, in random order.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        """
        rows = self._draw(n_samples, random_state)
        return self.fitted_.coordinates.values(rows)

    def sample_frame(
        self, n_samples: int = 1, random_state: RandomState = None, *, missing: bool = False
    ) -> Any:
        """Draw samples as a data frame like the one seen in fit.

        Integer and boolean columns are rounded, columns with noise are moved to the nearest value
        of their grid, and floating-point columns keep their precision.

        Parameters
        ----------
        n_samples : int, default=1
            Number of samples.

        random_state : int, RandomState instance or None, default=None
            Seed of the draws.

        missing : bool, default=False
            Whether samples have gaps: each those of a row of `fit` drawn at random, whatever the
            values.

        Returns
        -------
        frame : pandas.DataFrame, polars.DataFrame or pyarrow.Table of shape (n_samples, n_features)
            With the library, column names and types seen in fit, and the column index of pandas.
            After a fit to an array, a frame of pandas with columns "x0", "x1" and so on in the type
            of the array.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.

        ImportError
            If the library is not installed.

        Examples
        --------
        >>> import pandas as pd
        >>> from sklearn.datasets import load_wine
        >>> from skgbnf import GradientBoostedFlowDensity
        >>> X = load_wine(as_frame=True).data[["alcohol", "proline"]].astype({"proline": int})
        >>> model = GradientBoostedFlowDensity(flow="affine", dequantize=True).fit(X)
        >>> model.sample_frame(2, random_state=0).dtypes.astype(str).tolist()
        ['float64', 'int64']
        """
        rows = self._draw(n_samples, random_state)
        return self.fitted_.coordinates.frame(
            self._with_gaps(rows, random_state) if missing else rows, self.fitted_.table
        )

    def to_torch(self, dtype: torch.dtype = torch.float32) -> TorchDensity:
        """The density as a torch module, differentiable in the units of X.

        For gradients with respect to samples, as a term of another loss, or to be exported. It is a
        copy on the CPU, apart from the estimator, whose parameters are frozen; ``.to(device)``
        moves it.

        Parameters
        ----------
        dtype : torch.float32 or torch.float64, default=torch.float32
            Precision in which components are computed. The map from the units of X is computed in
            double precision in any case.

        Returns
        -------
        module : torch.nn.Module
            ``module.log_prob(x)``, or ``module(x)``, is the log-density in nats of each row of a
            Tensor of shape (n_samples, n_features): what :meth:`score_samples` returns, up to
            rounding. It takes no missing values. On a bound and outside, the gradient means
            nothing; at the values of a grid it is that of their probability as if they could move.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.

        ValueError
            If it was fitted to a mixed table, or a feature has atoms: probabilities of categories
            and of single values have no gradient.

        Examples
        --------
        >>> import torch
        >>> from sklearn.datasets import load_breast_cancer
        >>> from skgbnf import GradientBoostedFlowDensity
        >>> X = load_breast_cancer().data[:, :2]
        >>> module = GradientBoostedFlowDensity(flow="affine").fit(X).to_torch(torch.float64)
        >>> x = torch.tensor(X[:3], requires_grad=True)
        >>> torch.autograd.grad(module.log_prob(x).sum(), x)[0].shape
        torch.Size([3, 2])
        """
        check_is_fitted(self)
        check_precision(dtype)
        coordinates = self.fitted_.coordinates
        if isinstance(coordinates, MixedCoordinates):
            raise ValueError(
                "to_torch needs a fit to a table of numbers: probabilities of categories, gaps and "
                "single values have no gradient."
            )
        labels = zip(self.fitted_.table.labels, coordinates.noise.atoms, strict=True)
        if with_atoms := [label for label, atoms in labels if len(atoms)]:
            raise ValueError(
                f"to_torch: columns {with_atoms} have atoms, values with a probability of their "
                "own, which has no gradient; dequantize=False fits a density without."
            )
        columns = ColumnMap.of_coordinates(coordinates)
        return TorchDensity(self.fitted_.combination, columns, dtype)

    def _with_gaps(self, rows: np.ndarray, random_state: RandomState) -> np.ndarray:
        """Samples with the gaps of rows of fit, drawn at random."""
        coordinates = self.fitted_.coordinates
        if not isinstance(coordinates, MixedCoordinates):
            return rows
        gaps = coordinates.columns.gaps
        rng = np.random.default_rng(derive_seed(seed_from(random_state), _GAP_KEY))
        drawn = rng.choice(len(gaps.counts), len(rows), p=gaps.counts / gaps.counts.sum())
        return np.where(gaps.missing[drawn], np.nan, rows)

    def _draw(self, n_samples: int, random_state: RandomState) -> np.ndarray:
        check_is_fitted(self)
        check_integer("n_samples", n_samples, 1)
        device = score_device(self.device)
        return self.fitted_.sample(int(n_samples), seed_from(random_state), device)

    def _has_gaps(self, X: Any) -> bool:
        """Whether values are missing of what a density of complete samples is to score."""
        if isinstance(self.fitted_.coordinates, MixedCoordinates):
            return False
        if hasattr(X, "isna"):
            return bool(X.isna().to_numpy().any())
        return isinstance(X, np.ndarray) and X.dtype.kind == "f" and bool(np.isnan(X).any())

    def _log_densities(self, X: ArrayLike, evaluate: Evaluate) -> np.ndarray:
        blocks = checked_blocks(self, X, self.fitted_)
        return self.fitted_.log_densities(blocks, score_device(self.device), evaluate)
