"""The public attributes of a fitted density, read from its one fitted object."""

from typing import Any

import numpy as np

from skgbnf.boosting.attributes import RoundAttributes
from skgbnf.estimators.fitted import FittedDensity, TableMap
from skgbnf.estimators.mixed import MixedCoordinates
from skgbnf.table.column import Column
from skgbnf.table.numeric_columns import columns_of
from skgbnf.training.fitted import FittedCombination, FittedProduct, History


class DensityAttributes(RoundAttributes):
    """Mixin of the public attributes of a fitted density; all of them are read-only."""

    fitted_: FittedDensity

    def _rounds(self) -> tuple[FittedCombination, History]:
        """The fitted components, and the notes on their rounds."""
        return self.fitted_.combination, self.fitted_.history

    @property
    def staged_weights_(self) -> np.ndarray:
        """Weights after each round, ndarray of shape (`n_estimators_`, n_components)."""
        return self.fitted_.combination.staged_weights

    @property
    def n_folds_(self) -> int:
        """Number of folds, and of components in each round; 1 if there was one split."""
        return self.fitted_.n_folds

    @property
    def row_folds_(self) -> np.ndarray | None:
        """Fold of each sample given to the last `fit`, ndarray of int of shape (n_samples,).

        The components of fold k did not see the samples of fold k, and those of all other folds
        did. -1 for a sample that no component saw: of weight 0, or left out for want of time. None
        without folds. With `warm_start`, earlier rounds have the folds of their own samples.
        """
        return self.fitted_.row_folds

    @property
    def gains_(self) -> np.ndarray:
        """Gain bound of each component, ndarray of shape (`n_estimators_`,).

        An upper bound on the validation gain of adding it, in nats per unit of mixture weight:
        mean(g / G) - 1 over the validation set, with g the density of the component and G that of
        the mixture before it; inf for the first. Boosting stops where it is at most `tol`. With
        ``combine="product"`` it is the mean of log g - log G over the validation set, minus its
        mean over samples of the model.
        """
        return self.fitted_.history.gains

    @property
    def reference_score_(self) -> float:
        """Mean log-likelihood of the training samples under their best Gaussian, in nats.

        What the best affine flow reaches on the samples of `train_scores_`, with the noise of
        `dequantize` and behind the maps of `bounds`. inf where it has no bound, as with a constant
        feature. See :func:`skgbnf.diagnostics.gaussian_reference_score`.
        """
        return self.fitted_.reference_score

    @property
    def log_normalizer_(self) -> float | None:
        """Log of the integral of the product of powers, which scores are corrected by.

        None for mixtures, which integrate to 1 by themselves.
        """
        combination = self.fitted_.combination
        if not isinstance(combination, FittedProduct):
            return None
        return float(combination.log_normalizers[-1])

    @property
    def staged_log_normalizers_(self) -> np.ndarray | None:
        """The same after each round, ndarray of shape (`n_estimators_`,); None of a mixture."""
        combination = self.fitted_.combination
        return combination.log_normalizers if isinstance(combination, FittedProduct) else None

    @property
    def log_normalizer_error_(self) -> float | None:
        """Standard error of `log_normalizer_`, in nats; None of a mixture."""
        combination = self.fitted_.combination
        return combination.log_normalizer_error if isinstance(combination, FittedProduct) else None

    @property
    def coordinates_(self) -> TableMap:
        """The map between the units of X and those in which components are trained."""
        return self.fitted_.coordinates

    @property
    def columns_(self) -> list[Column]:
        """What each feature was taken for: a list of records, one for each.

        Their attribute `kind` is "continuous", "ordinal" (on a grid), "categorical", "mixed"
        (continuous with atoms), "periodic" or "constant". The others are `levels`, `step`,
        `lowest` and `highest`, `atoms`, `period` and `unit`, which is "seconds" of dates, since
        1970, and of durations. Notebooks show a table of them below the diagram of a fitted
        density.
        """
        coordinates = self.fitted_.coordinates
        if isinstance(coordinates, MixedCoordinates):
            return list(coordinates.columns.columns)
        return columns_of(coordinates)

    @property
    def location_(self) -> np.ndarray:
        """Mean used for standardisation, ndarray of shape (`n_features_in_`,), in units of X.

        Of features with bounds or atoms, or whose samples lie at several scales, after their map.
        Of a mixed table the median of numbers and the first angle of a period; 0 of categories.
        """
        coordinates = self.fitted_.coordinates
        if isinstance(coordinates, MixedCoordinates):
            return coordinates.location
        return coordinates.standardisation.location

    @property
    def scale_(self) -> np.ndarray:
        """Standard deviation used for standardisation, like `location_`.

        Of a mixed table that which the quartiles of a normal feature would have; 1 of categories.
        """
        coordinates = self.fitted_.coordinates
        if isinstance(coordinates, MixedCoordinates):
            return coordinates.scale
        return coordinates.standardisation.scale

    @property
    def bounds_(self) -> np.ndarray:
        """Lower and upper bounds, ndarray of shape (2, `n_features_in_`); infinite for none."""
        return self.fitted_.coordinates.bounds.limits

    @property
    def bound_margins_(self) -> np.ndarray:
        """Distance beyond each bound at which its map becomes infinite, like `bounds_`.

        Half the width of the noise, or else at most a tenth of the smallest distance of a training
        sample from the bound; in units of X.
        """
        return self.fitted_.coordinates.bounds.margins

    @property
    def dequantize_widths_(self) -> np.ndarray:
        """Width of the noise, or the width that the probability of an atom is divided by.

        ndarray of shape (`n_features_in_`,), in units of X; 0 for features with neither, and for
        all of a mixed table, whose grids and atoms have probabilities.
        """
        coordinates = self.fitted_.coordinates
        if isinstance(coordinates, MixedCoordinates):
            return np.zeros(coordinates.n_features)
        return coordinates.noise.widths

    @property
    def dequantize_origins_(self) -> np.ndarray:
        """A value on the grid of each feature that has one, NaN for others.

        ndarray of shape (`n_features_in_`,).
        """
        coordinates = self.fitted_.coordinates
        if isinstance(coordinates, MixedCoordinates):
            return np.array([column.origin if column.step else np.nan for column in self.columns_])
        return coordinates.noise.origins

    @property
    def atoms_(self) -> list[np.ndarray]:
        """Atoms of each feature, ascending: a list of ndarrays."""
        coordinates = self.fitted_.coordinates
        if isinstance(coordinates, MixedCoordinates):
            return [np.array(column.atoms) for column in self.columns_]
        return list(coordinates.noise.atoms)

    @property
    def container_(self) -> str:
        """Library of the table seen in fit: "numpy", "pandas", "polars" or "pyarrow"."""
        return self.fitted_.table.container

    @property
    def dtypes_(self) -> list[str]:
        """Types of its columns."""
        return self.fitted_.table.dtypes

    @property
    def column_labels_(self) -> list[Any]:
        """Names of its columns as they are, strings or not; positions where it had none."""
        return self.fitted_.table.labels

    @property
    def column_level_names_(self) -> list[Any]:
        """Names of the levels of its column index, one unless it was a MultiIndex of pandas."""
        return self.fitted_.table.level_names
