"""Predictions of a mean and a spread out of folds, from several models, combined.

References
----------
Stacked Regressions. L. Breiman, 1996. https://doi.org/10.1007/BF00117832
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.optimize import minimize, nnls
from scipy.special import gammaln
from sklearn.ensemble import HistGradientBoostingRegressor

from skgbnf._random import derive_seed
from skgbnf.predictors.effort import Effort
from skgbnf.predictors.models import LARGEST_SEED, MODELS, Features, Forest, unless_equal
from skgbnf.predictors.trees import Trees

Fold = tuple[np.ndarray, np.ndarray]
"""Indices of the training samples of a fold, and of the samples that it is to predict."""

_QUANTILES = (0.05, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 0.95)
_LARGEST_DETAIL = 8.0
_SHARE_OF_FOREST = 0.5
_FLOOR = 1e-3
_MOST_GAIN = 0.5
_FAR = 5.0
_ROWS_OF_LINE = 5000
_SMALLEST_SPREAD = 1e-4
_LARGEST_LOG_SPREAD = 50.0
_MODEL_KEY, _SPREAD_KEY = 0, 1


@dataclass(frozen=True, eq=False)
class Predictions:
    """What models say of each target given features.

    Attributes
    ----------
    mean, log_spread : ndarrays of shape (n_samples, n_targets)

    details : ndarray of shape (n_samples, n_details)
        Quantiles over the trees of forests, in units of the spread around the mean.
    """

    mean: np.ndarray
    log_spread: np.ndarray
    details: np.ndarray


@dataclass(frozen=True, eq=False)
class _Target:
    """Models of one target, each of them fitted once for each fold.

    Attributes
    ----------
    models : dict of str to list
        Fitted models of all folds by name; of a forest one.

    shares : ndarray of shape (n_models,)
        What each of them contributes to the mean.

    spreads : list of Trees
        Logarithm of the squared residual, for each fold.

    line : tuple of float
        Intercept and slope of the log-spread as a function of what the trees say of it.

    size : float
        Mean square of the residuals, divided by their spread.

    References
    ----------
    Neural Network Ensembles, Cross Validation, and Active Learning. A. Krogh, J. Vedelsby, 1994.
    https://papers.nips.cc/paper/1994/hash/b8c37e33defde51cf91e1e03e51657da-Abstract.html
    """

    models: dict[str, list[Any]]
    shares: np.ndarray
    spreads: list[Trees]
    line: tuple[float, float]
    size: float

    @property
    def n_details(self) -> int:
        """Number of columns of details."""
        return len(_QUANTILES) if "forest" in self.models else 0

    def predict(self, X: Features) -> Predictions:
        """The average over folds, for samples that none of them has seen.

        The error of an average is smaller than that of one fold, by which the spread was fitted:
        its square by the variance between folds, on average exactly (Krogh and Vedelsby).
        """
        outputs = {
            name: [model.outputs(X) for model in fitted] for name, fitted in self.models.items()
        }
        n_folds = len(self.spreads)
        means = np.stack([self._mean_of_fold(outputs, k) for k in range(n_folds)])
        mean = means.mean(axis=0)
        quantiles = _quantiles({name: each[0] for name, each in outputs.items()}, len(X))
        rows = _for_spread(X, mean, quantiles)
        raw = np.mean([trees.total(rows) for trees in self.spreads], axis=0) / 2
        log_spread = _on_line(self.line, raw)
        gain = means.var(axis=0) * np.exp(-2 * log_spread) / self.size
        log_spread += np.log(1 - np.minimum(gain, _MOST_GAIN)) / 2
        return _predictions(mean, log_spread, quantiles)

    def _mean_of_fold(self, outputs: dict[str, list[np.ndarray]], k: int) -> np.ndarray:
        """The mean by the models of one fold; a forest is one for all of them."""
        own = [each[k % len(each)].mean(axis=1) for each in outputs.values()]
        return np.column_stack(own) @ self.shares

    def to_plain(self) -> dict[str, Any]:
        return {
            "models": {
                name: [model.to_plain() for model in fitted] for name, fitted in self.models.items()
            },
            "shares": self.shares,
            "spreads": [trees.to_plain() for trees in self.spreads],
            "line": list(self.line),
            "size": self.size,
        }

    @classmethod
    def from_plain(cls, plain: dict[str, Any], n_features: int, n_columns: int) -> Self:
        models = {
            name: [MODELS[name].from_plain(part, n_features, n_columns) for part in fitted]
            for name, fitted in plain["models"].items()
        }
        shares = plain["shares"]
        if shares.shape != (len(models),) or not np.isfinite(shares).all() or not models:
            raise ValueError("its models have more or fewer shares")
        n_spread = n_features + 1 + (len(_QUANTILES) if "forest" in models else 0)
        spreads = [Trees.from_plain(part, n_spread) for part in plain["spreads"]]
        if {len(fitted) for fitted in models.values()} - {1, len(spreads)} or not spreads:
            raise ValueError("its models are of different numbers of folds")
        intercept, slope, size = map(float, (*plain["line"], plain["size"]))
        if not (np.isfinite([intercept, slope, size]).all() and size > 0):
            raise ValueError("the line of its spread is no number")
        return cls(models, shares, spreads, (intercept, slope), size)


@dataclass(frozen=True, eq=False)
class Stack:
    """Models of all targets.

    Attributes
    ----------
    targets : tuple
        One for each target.
    """

    targets: tuple[_Target, ...]

    @classmethod
    def fit(
        cls,
        names: Sequence[str],
        X: Features,
        Y: np.ndarray,
        weights: np.ndarray,
        folds: Sequence[Fold],
        effort: Effort,
        deadline: float,
        seed: int,
        on_part: Callable[[str], None],
    ) -> tuple[Self, Predictions]:
        """Fit models to each fold, and predict each sample by those that have not seen it.

        Parameters
        ----------
        names : sequence of str
            Of :data:`MODELS`.

        X : Features
            Of the training samples.

        Y : ndarray of shape (n_samples, n_targets)

        weights : ndarray of shape (n_samples,)

        folds : sequence of pairs of ndarrays of int

        effort : Effort

        deadline : float
            Reading of ``time.perf_counter()`` before which the models should be there. Those that
            would take longer are left out, but not the first.

        seed : int

        on_part : callable ``(what)``
            Called with a description of what is fitted next.

        Returns
        -------
        stack : Stack

        predictions : Predictions
            Of the training samples, out of their folds.
        """
        fitted = []
        for j, y in enumerate(Y.T):
            now = time.perf_counter()
            own = now + (deadline - now) / (Y.shape[1] - j)
            fit = _Fit(X, y, weights, folds, effort, own, derive_seed(seed, j), on_part)
            fitted.append(fit.target(names))
        stack = cls(tuple(target for target, _ in fitted))
        return stack, _side_by_side([predictions for _, predictions in fitted])

    @property
    def n_outputs(self) -> int:
        """Number of columns of all predictions together."""
        return sum(2 + target.n_details for target in self.targets)

    def predict(self, X: Features) -> Predictions:
        """Predictions for samples that were not seen in fit."""
        return _side_by_side([target.predict(X) for target in self.targets])

    def to_plain(self) -> list[Any]:
        """The models as JSON values and arrays."""
        return [target.to_plain() for target in self.targets]

    @classmethod
    def from_plain(cls, plain: list[Any], n_features: int, n_columns: int) -> Self:
        """Inverse of :meth:`to_plain`; ValueError unless the parts fit together."""
        return cls(tuple(_Target.from_plain(part, n_features, n_columns) for part in plain))


@dataclass(frozen=True, eq=False)
class _Fit:
    """The models of one target being fitted."""

    X: Features
    y: np.ndarray
    weights: np.ndarray
    folds: Sequence[Fold]
    effort: Effort
    deadline: float
    seed: int
    on_part: Callable[[str], None]

    def target(self, names: Sequence[str]) -> tuple[_Target, Predictions]:
        models: dict[str, list[Any]] = {}
        outputs: dict[str, np.ndarray] = {}
        for name in names:
            self.on_part(f"{name} of the mean")
            fitted, predicted = self._fit_model(name, needed=not models)
            if fitted:
                models[name], outputs[name] = fitted, predicted
        means = np.column_stack([values.mean(axis=1) for values in outputs.values()])
        shares = self._shares(means)
        mean, quantiles = means @ shares, _quantiles(outputs, len(self.y))
        self.on_part("boosting of the spread")
        spreads, raw = self._fit_spread(_for_spread(self.X, mean, quantiles), mean)
        line = self._line(self.y - mean, raw)
        log_spread = _on_line(line, raw)
        scaled = ((self.y - mean) * np.exp(-log_spread)).clip(-_FAR, _FAR)
        size = float(np.average(np.square(scaled), weights=self.weights))
        target = _Target(models, shares, spreads, line, max(size, _FLOOR))
        return target, _predictions(mean, log_spread, quantiles)

    def _fit_model(self, name: str, *, needed: bool) -> tuple[list[Any], np.ndarray]:
        """A model for each fold, and outputs for the samples that it has not seen.

        There is none if it is not needed and the first one takes too long.
        """
        seed = derive_seed(self.seed, _MODEL_KEY)
        if name == "forest":
            seconds = _SHARE_OF_FOREST * (self.deadline - time.perf_counter())
            forest, outputs = Forest.fit_repeatedly(
                self.X, self.y, self.weights, self.effort, seconds, seed
            )
            return [forest], outputs
        models: list[Any] = []
        outputs, start = np.empty(0), time.perf_counter()
        for k, (kept, aside) in enumerate(self.folds):
            spent = time.perf_counter() - start
            end = start + spent * len(self.folds)
            if not needed and k <= 1 and end > self.deadline:
                return [], outputs
            part = self.X[kept], self.y[kept], self.weights[kept]
            own_seed = derive_seed(seed, k) % LARGEST_SEED
            models.append(MODELS[name].fit(*part, self.effort, own_seed))
            own = models[-1].outputs(self.X[aside])
            if not outputs.size:
                outputs = np.empty((len(self.y), own.shape[1]))
            outputs[aside] = own
        return models, outputs

    def _shares(self, means: np.ndarray) -> np.ndarray:
        """Shares of the models by least squares, which are not negative and sum to 1."""
        root = np.sqrt(self.weights)
        shares, _ = nnls(means * root[:, None], self.y * root)
        if not shares.sum() > 0:
            return np.full(means.shape[1], 1 / means.shape[1])
        return shares / shares.sum()

    def _fit_spread(self, rows: np.ndarray, mean: np.ndarray) -> tuple[list[Trees], np.ndarray]:
        """Trees of the squared residuals for each fold, and log-spreads out of folds."""
        squares = np.square(self.y - mean)
        squares += _FLOOR * np.average(squares, weights=self.weights) + _SMALLEST_SPREAD**2
        trees, raw = [], np.empty(len(mean))
        many = len(mean) >= 2000
        for k, (kept, aside) in enumerate(self.folds):
            model = HistGradientBoostingRegressor(
                loss="gamma",
                learning_rate=0.1 if many else 0.05,
                max_iter=100 if many else 60,
                max_leaf_nodes=31 if many else 6,
                min_samples_leaf=50 if many else 15,
                l2_regularization=5.0,
                max_features=0.5,
                early_stopping=False,
                random_state=derive_seed(self.seed, _SPREAD_KEY, k) % LARGEST_SEED,
            ).fit(rows[kept], squares[kept], unless_equal(self.weights[kept]))
            trees.append(Trees.of_boosting(model, rows[kept]))
            raw[aside] = trees[-1].total(rows[aside]) / 2
        return trees, raw

    def _line(self, residuals: np.ndarray, raw: np.ndarray) -> tuple[float, float]:
        """Line of the log-spread: the most likely one if residuals are of a Student t.

        A slope near 0 says that the spread is the same everywhere.
        """
        some = slice(None, None, -(-len(raw) // _ROWS_OF_LINE))
        residuals, raw, weights = residuals[some], raw[some], self.weights[some]
        centre = float(np.average(raw, weights=weights))

        def loss(values: np.ndarray) -> float:
            intercept, slope, log_df = values
            line = intercept + centre * (1 - slope), slope
            log_scale = _on_line(line, raw).clip(max=_LARGEST_LOG_SPREAD)
            return -float(np.average(_log_t(residuals, log_scale, log_df), weights=weights))

        intercept, slope, _ = minimize(loss, [0.0, 1.0, 1.0], method="Nelder-Mead").x
        slope = float(np.clip(slope, 0.0, 1.5))
        return float(intercept + centre * (1 - slope)), slope


def _on_line(line: tuple[float, float], raw: np.ndarray) -> np.ndarray:
    """Log-spreads, none of them so small that residuals would be out of bounds."""
    return np.maximum(line[0] + line[1] * raw, np.log(_SMALLEST_SPREAD))


def _log_t(residuals: np.ndarray, log_scale: np.ndarray, log_df: float) -> np.ndarray:
    """Log-density of a Student t with more than two degrees of freedom."""
    df = 2 + np.exp(min(log_df, 6.0))
    constant = gammaln((df + 1) / 2) - gammaln(df / 2) - np.log(df * np.pi) / 2
    scaled = np.square(residuals * np.exp(-log_scale)) / df
    return constant - log_scale - (df + 1) / 2 * np.log1p(scaled)


def _quantiles(outputs: dict[str, np.ndarray], n_samples: int) -> np.ndarray:
    """Quantiles over the trees of a forest, of shape (n_samples, n_quantiles), or no columns."""
    if "forest" not in outputs:
        return np.empty((n_samples, 0))
    return np.quantile(outputs["forest"], _QUANTILES, axis=1).T


def _for_spread(X: Features, mean: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    """Columns from which trees tell the spread."""
    return np.column_stack([X.codes, mean, quantiles - mean[:, None]])


def _predictions(mean: np.ndarray, log_spread: np.ndarray, quantiles: np.ndarray) -> Predictions:
    details = (quantiles - mean[:, None]) * np.exp(-log_spread)[:, None]
    details = details.clip(-_LARGEST_DETAIL, _LARGEST_DETAIL)
    return Predictions(mean[:, None], log_spread[:, None], details)


def _side_by_side(parts: Sequence[Predictions]) -> Predictions:
    """Predictions of all targets."""
    columns = [[vars(part)[name] for part in parts] for name in ("mean", "log_spread", "details")]
    return Predictions(*(np.concatenate(column, axis=1) for column in columns))
