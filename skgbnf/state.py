"""A fitted mixture estimator as plain data and arrays, and back."""

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skgbnf.persistence import (
    check_savable_random_state,
    component_from_state,
    component_to_state,
    plain,
)
from skgbnf.validation import check_density_parameters

_SAVED_ARRAYS = (
    "location_", "scale_", "dequantize_widths_", "staged_weights_", "n_iter_", "gains_",
    "train_scores_", "validation_scores_", "staged_log_normalizers_", "log_normalizer_error_",
)  # fmt: skip

_OPTIONAL = {"validation_scores_", "staged_log_normalizers_", "log_normalizer_error_"}

_MAY_CHANGE = {
    "n_estimators", "n_iter_no_change", "tol", "fine_tune", "max_time", "checkpoint", "device",
    "warm_start", "verbose",
}  # fmt: skip
"""Parameters that rounds already fitted do not depend on."""


class MixtureState:
    """Mixin of what a fitted mixture is: what follows from its attributes, and its file."""

    @property
    def log_normalizer_(self) -> float | None:
        """Logarithm of the integral of the last product of powers; None for mixtures."""
        staged = self.staged_log_normalizers_
        return None if staged is None else float(staged[-1])

    def _get_state(self) -> tuple[dict, dict[str, np.ndarray]]:
        """JSON data and arrays from which :meth:`_from_state` restores the fitted estimator."""
        check_is_fitted(self)
        self._check_savable()
        components, arrays = [], {}
        for k, fitted in enumerate(self.estimators_):
            data, own = component_to_state(fitted, f"estimators.{k}.")
            components.append(data)
            arrays.update(own)
        for name in _SAVED_ARRAYS:
            if getattr(self, name) is not None:
                arrays[name] = np.atleast_1d(getattr(self, name))
        data = {
            "parameters": self._plain_parameters(),
            "components": components,
            "seed": self._seed,
            "feature_names": getattr(self, "feature_names_in_", np.array([])).tolist(),
        }
        return data, arrays

    def _check_savable(self) -> None:
        """Raise ValueError if a parameter is what no file can hold."""
        check_savable_random_state(self.random_state)
        kinds = self.flow if isinstance(self.flow, list | tuple) else [self.flow]
        if any(callable(kind) for kind in kinds):
            raise ValueError("flow: a callable cannot be written to a file; pickle the model.")

    def _plain_parameters(self) -> dict:
        return {name: plain(value) for name, value in self.get_params(deep=False).items()}

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
        parameters = data["parameters"]
        for name in ("flow", "init", "hidden_layer_sizes"):
            if isinstance(parameters[name], list):
                parameters[name] = tuple(parameters[name])
        self = cls(**parameters)
        check_density_parameters(self)
        components = data["components"]
        self.estimators_ = [
            component_from_state(component, arrays, f"estimators.{k}.")
            for k, component in enumerate(components)
        ]
        for name in _SAVED_ARRAYS:
            setattr(self, name, arrays.get(name))
        self._seed = int(data["seed"])
        self.n_estimators_ = len(components)
        self.n_features_in_ = len(self.location_)
        self.estimator_weights_ = self.staged_weights_[-1:].ravel().copy()
        if data["feature_names"]:
            self.feature_names_in_ = np.array(data["feature_names"], dtype=object)
        self._check_state()
        if self.log_normalizer_error_ is not None:
            self.log_normalizer_error_ = float(self.log_normalizer_error_[0])
        return self

    def _check_state(self) -> None:
        """Raise ValueError unless the fitted attributes fit together."""
        n, d = self.n_estimators_, self.n_features_in_
        shapes = {
            "location_": (d,), "scale_": (d,), "staged_weights_": (n, n), "n_iter_": (n,),
            "train_scores_": (n,), "validation_scores_": (n,), "gains_": (n,),
            "dequantize_widths_": (d,), "staged_log_normalizers_": (n,),
            "log_normalizer_error_": (1,),
        }  # fmt: skip
        for name, shape in shapes.items():
            array = getattr(self, name)
            if array is None and name in _OPTIONAL:
                continue
            if array.shape != shape:
                raise ValueError(f"{name} has shape {array.shape}, expected {shape}")
        weights, scale = self.staged_weights_, self.scale_
        if n < 1:
            raise ValueError("it has no components")
        if not ((weights >= 0).all() and np.allclose(weights.sum(axis=1), 1.0, atol=1e-6)):
            raise ValueError("its weights are negative or do not sum to 1")
        if not (
            np.isfinite(self.location_).all() and np.isfinite(scale).all() and (scale > 0).all()
        ):
            raise ValueError("its location or scale is not finite, or a scale is not positive")
        if any(fitted.architecture.n_features != d for fitted in self.estimators_):
            raise ValueError("its components have different numbers of columns")
        if any(fitted.architecture.n_context for fitted in self.estimators_):
            raise ValueError("one of its components needs a context")
        if len(getattr(self, "feature_names_in_", range(d))) != d:
            raise ValueError("it has more or fewer feature names than columns")
        self._check_normalizers()

    def _check_normalizers(self) -> None:
        values, error = self.staged_log_normalizers_, self.log_normalizer_error_
        if (values is None) != (error is None):
            raise ValueError("one of its normaliser and the error of it is missing")
        if values is not None and not np.isfinite(values).all():
            raise ValueError("its normaliser is not finite")
