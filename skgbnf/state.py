"""What a fitted mixture estimator holds: rounds taken from boosting; all of it as a file."""

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skgbnf.boosting import Boosting
from skgbnf.flows import base_from_plain, base_to_plain
from skgbnf.persistence import (
    FittedComponent,
    arrays_under,
    check_arrays,
    check_savable_random_state,
    components_from_state,
    components_to_state,
    plain,
)
from skgbnf.preparation import Table
from skgbnf.table.bounds import bounds_from_plain, bounds_to_plain
from skgbnf.table.coordinates import Coordinates
from skgbnf.table.frames import Description, named_for_sklearn
from skgbnf.validation import check_density_parameters, device_name


def _shapes(n: int, d: int) -> dict[str, tuple[int, ...]]:
    """Attributes that a file holds as arrays, for `n` components of `d` columns."""
    return {
        "reference_score_": (1,), "staged_weights_": (n, n), "n_iter_": (n,), "gains_": (n,),
        "train_scores_": (n,),
        "validation_scores_": (n,), "staged_log_normalizers_": (n,), "log_normalizer_error_": (1,),
    }  # fmt: skip


_UNITS = "units."
"""Before the names of the arrays of the coordinates."""

_SAVED_ARRAYS = tuple(_shapes(0, 0))
_OPTIONAL = {"validation_scores_", "staged_log_normalizers_", "log_normalizer_error_"}

_MAY_CHANGE = {
    "n_estimators", "n_iter_no_change", "tol", "fine_tune", "max_time", "checkpoint", "device",
    "warm_start", "verbose",
}  # fmt: skip
"""Parameters that rounds already fitted do not depend on."""

_PATHS = {"checkpoint"}
"""Parameters that name a path: they neither go into files nor come out of them."""


class MixtureState:
    """Mixin of what a fitted mixture is: what follows from its attributes, and its file."""

    @property
    def location_(self) -> np.ndarray:
        """Mean by which each column is standardised."""
        return self.coordinates_.standardisation.location

    @property
    def scale_(self) -> np.ndarray:
        """Standard deviation by which each column is standardised."""
        return self.coordinates_.standardisation.scale

    @property
    def bounds_(self) -> np.ndarray:
        """Lower and upper bounds of the columns."""
        return self.coordinates_.bounds.limits

    @property
    def bound_margins_(self) -> np.ndarray:
        """How far beyond its bounds each column is mapped to infinity."""
        return self.coordinates_.bounds.margins

    @property
    def dequantize_widths_(self) -> np.ndarray:
        """Width by which the probability of a repeated value is divided, 0 for none."""
        return self.coordinates_.noise.widths

    @property
    def dequantize_origins_(self) -> np.ndarray:
        """A value of the grid of each column, NaN where there is none."""
        return self.coordinates_.noise.origins

    @property
    def atoms_(self) -> list[np.ndarray]:
        """Values of each column that are kept apart."""
        return list(self.coordinates_.noise.atoms)

    @property
    def log_normalizer_(self) -> float | None:
        """Logarithm of the integral of the last product of powers; None for mixtures."""
        staged = self.staged_log_normalizers_
        return None if staged is None else float(staged[-1])

    def __getstate__(self) -> dict:
        """State for pickle, copies and skops: plain, so that skops has one type to trust."""
        state = dict(super().__getstate__())
        if "estimators_" in state:
            state["estimators_"] = [fitted.plain() for fitted in self.estimators_]
            state["coordinates_"] = self.coordinates_.to_arrays()
        return {
            **state,
            "base": base_to_plain(self.base),
            "device": device_name(self.device),
        }

    def __setstate__(self, state: dict) -> None:
        state = dict(state)
        if "estimators_" in state:
            state["estimators_"] = [*map(FittedComponent.from_plain, state["estimators_"])]
            state["coordinates_"] = Coordinates.from_arrays(state["coordinates_"])
        state["base"] = base_from_plain(state["base"])
        super().__setstate__(state)

    def _publish(self, boosting: Boosting, table: Table) -> None:
        """Turn the finished rounds, and what was chosen for their table, into fitted attributes."""
        self._describe(table)
        boosting.truncate(len(boosting.stages))
        n_rounds = len(boosting.stages)
        self.estimators_ = [
            FittedComponent.from_module(*pair)
            for pair in zip(boosting.architectures, boosting.components, strict=True)
        ]
        self.staged_weights_ = np.zeros((n_rounds, n_rounds))
        for i, stage in enumerate(boosting.stages):
            self.staged_weights_[i, : i + 1] = stage.weights.cpu().numpy()
        self.estimator_weights_ = self.staged_weights_[-1].copy()
        self.n_estimators_ = n_rounds
        self.n_iter_ = np.array(boosting.n_iter)
        self.gains_ = np.array(boosting.gains)
        learned = [stage.train_score for stage in boosting.stages]
        judged = [stage.judge_score for stage in boosting.stages]
        self.train_scores_ = table.train_log_det + np.array(learned)
        self.validation_scores_ = None
        if boosting.has_held_out:
            self.validation_scores_ = table.judge_log_det + np.array(judged)
        normalizers = [stage.log_normalizer for stage in boosting.stages]
        self.staged_log_normalizers_ = None if None in normalizers else np.array(normalizers)
        self.log_normalizer_error_ = boosting.stages[-1].log_normalizer_error

    def _describe(self, table: Table) -> None:
        """Turn what was chosen for a table into fitted attributes."""
        self.coordinates_ = table.coordinates
        self.reference_score_ = table.reference_score

    def _describe_columns(self, description: Description) -> None:
        """Turn what is to be known of the columns of a table into fitted attributes."""
        self.container_, self.dtypes_ = description.container, description.dtypes
        self.column_labels_ = description.labels
        self.column_level_names_ = description.level_names

    @property
    def _description(self) -> Description:
        """What the fitted attributes say of the columns of the table seen in fit."""
        return Description(
            self.container_, self.dtypes_, self.column_labels_, self.column_level_names_
        )

    def _get_state(self) -> tuple[dict, dict[str, np.ndarray]]:
        """JSON data and arrays from which :meth:`_from_state` restores the fitted estimator."""
        check_is_fitted(self)
        check_density_parameters(self)
        self._check_savable()
        components, arrays = components_to_state(self.estimators_)
        for name in _SAVED_ARRAYS:
            if getattr(self, name) is not None:
                arrays[name] = np.atleast_1d(getattr(self, name))
        units = self.coordinates_.to_arrays()
        arrays.update({f"{_UNITS}{name}": array for name, array in units.items()})
        data = {
            "parameters": self._plain_parameters(),
            "components": components,
            "seed": self._seed,
            "table": self._description.to_plain(),
        }
        return data, arrays

    def _check_savable(self) -> None:
        """Raise ValueError if a parameter is what no file can hold."""
        check_savable_random_state(self.random_state)
        kinds = self.flow if isinstance(self.flow, list | tuple) else [self.flow]
        if any(callable(kind) for kind in kinds):
            raise ValueError("flow: a callable cannot be written to a file; pickle the model.")

    def _plain_parameters(self) -> dict:
        """Parameters as JSON knows them, without those that name a path of this machine."""
        parameters = _without_paths(self.get_params(deep=False))
        bounds = bounds_to_plain(parameters.pop("bounds"))
        return {**{name: plain(value) for name, value in parameters.items()}, "bounds": bounds}

    @classmethod
    def _from_plain_parameters(cls, plain_parameters: dict):
        """Inverse of :meth:`_plain_parameters`: an estimator that is not fitted."""
        # A path in a file is not the reader's choice, and a fit would write there.
        parameters = _without_paths(plain_parameters)
        check_savable_random_state(parameters["random_state"])
        for name in ("flow", "init", "hidden_layer_sizes"):
            if isinstance(parameters[name], list):
                parameters[name] = tuple(parameters[name])
        parameters["bounds"] = bounds_from_plain(parameters["bounds"])
        parameters["base"] = base_from_plain(parameters["base"])
        self = cls(**parameters)
        check_density_parameters(self)
        return self

    def _adopt(self, earlier: "MixtureState") -> None:
        """Take the fitted rounds of another estimator, if its parameters allow for it."""
        if type(earlier) is not type(self):
            raise ValueError(f"resume_from: the file holds a {type(earlier).__name__}.")
        theirs, ours = earlier._plain_parameters(), self._plain_parameters()
        other = [name for name in ours.keys() - _MAY_CHANGE if theirs[name] != ours[name]]
        if other:
            raise ValueError(
                f"resume_from: the rounds in the file were fitted with other {sorted(other)}."
            )
        fitted = {k: v for k, v in vars(earlier).items() if k.endswith("_") or k == "_seed"}
        self.__dict__.update(fitted)

    @classmethod
    def _from_state(cls, data: dict, arrays: dict[str, np.ndarray]):
        """Restore a fitted estimator, checking that data and arrays fit together."""
        self = cls._from_plain_parameters(data["parameters"])
        for name in _SAVED_ARRAYS:
            setattr(self, name, arrays.get(name))
        self.coordinates_ = Coordinates.from_arrays(arrays_under(_UNITS, arrays))
        self._seed = int(data["seed"])
        self.n_estimators_ = len(data["components"])
        self.n_features_in_ = len(self.location_)
        description = Description.from_plain(data["table"], self.n_features_in_)
        self._describe_columns(description)
        if named_for_sklearn(description.labels):
            self.feature_names_in_ = np.array(description.labels, dtype=object)
        # Shapes first: they say how many components there may be.
        check_arrays(self, _shapes(self.n_estimators_, self.n_features_in_), _OPTIONAL)
        self.estimators_ = components_from_state(data["components"], arrays)
        self.estimator_weights_ = self.staged_weights_[-1:].ravel().copy()
        self._check_state()
        self.reference_score_ = float(self.reference_score_[0])
        if self.log_normalizer_error_ is not None:
            self.log_normalizer_error_ = float(self.log_normalizer_error_[0])
        return self

    def _check_state(self) -> None:
        """Raise ValueError unless the fitted attributes fit together."""
        n, d = self.n_estimators_, self.n_features_in_
        weights = self.staged_weights_
        if n < 1:
            raise ValueError("it has no components")
        if not ((weights >= 0).all() and np.allclose(weights.sum(axis=1), 1.0, atol=1e-6)):
            raise ValueError("its weights are negative or do not sum to 1")
        if np.isnan(self.reference_score_).any():
            raise ValueError("the score of its reference is not a number")
        if any(fitted.architecture.n_features != d for fitted in self.estimators_):
            raise ValueError("its components have different numbers of columns")
        if any(fitted.architecture.n_context for fitted in self.estimators_):
            raise ValueError("one of its components needs a context")
        self._check_normalizers()

    def _check_normalizers(self) -> None:
        values, error = self.staged_log_normalizers_, self.log_normalizer_error_
        if (values is None) != (error is None):
            raise ValueError("one of its normaliser and the error of it is missing")
        if values is not None and not np.isfinite(values).all():
            raise ValueError("its normaliser is not finite")


def _without_paths(parameters: dict) -> dict:
    return {name: value for name, value in parameters.items() if name not in _PATHS}
