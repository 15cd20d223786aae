"""A density in files and pickles."""

from collections.abc import Iterable
from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skgbnf._device import device_name
from skgbnf.estimators.fitted import FittedDensity
from skgbnf.estimators.parameters import check_density_parameters
from skgbnf.flows import base_from_plain, base_to_plain
from skgbnf.persistence import (
    PersistentEstimator,
    from_parameters,
    parameters_to_plain,
    plain,
    tuples,
)
from skgbnf.table.bounds import bounds_from_plain, bounds_to_plain
from skgbnf.table.frames import Description, named_for_sklearn
from skgbnf.table.requested import requested_from_plain, requested_to_plain


class PersistentDensity(PersistentEstimator):
    """Mixin of what files and pickles need of a density."""

    _fitted_class: type[Any] = FittedDensity
    fitted_: Any
    base: Any
    device: Any

    def _check_parameters(self) -> None:
        """Raise ValueError or TypeError unless every constructor parameter is in its range."""
        check_density_parameters(self)

    @staticmethod
    def _parameter_to_plain(name: str, value: Any) -> Any:
        """One parameter as JSON knows it; ValueError if a family is a user's callable."""
        if name == "flow":
            _check_savable(value if isinstance(value, list | tuple) else [value])
        special = {
            "bounds": bounds_to_plain,
            "base": base_to_plain,
            "columns": requested_to_plain,
        }
        return special.get(name, plain)(value)

    @staticmethod
    def _parameter_from_plain(name: str, value: Any) -> Any:
        """Inverse of :meth:`_parameter_to_plain`."""
        special = {
            "bounds": bounds_from_plain,
            "base": base_from_plain,
            "columns": requested_from_plain,
        }
        return special.get(name, tuples)(value)

    def to_plain(self) -> dict[str, Any]:
        """The fitted estimator as JSON values and arrays."""
        check_is_fitted(self)
        self._check_parameters()
        _check_savable(fitted.architecture.family for fitted in self.fitted_.combination.components)
        table = self.fitted_.table.to_plain()
        fitted = self.fitted_.to_plain()
        return {"parameters": parameters_to_plain(self), "fitted": fitted, "table": table}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Self:
        """Inverse of :meth:`to_plain`; ValueError unless the parts fit together."""
        self = from_parameters(cls, plain["parameters"])
        table = Description.from_plain(plain["table"])
        self.fitted_ = cls._fitted_class.from_plain(plain["fitted"], table)
        self._note_columns(self.fitted_.features)
        return self

    def __getstate__(self) -> dict[str, Any]:
        """State for pickles, copies and skops: plain, so that skops has one type to trust."""
        state = dict(super().__getstate__())  # type: ignore[call-overload]
        if "fitted_" in state:
            table = vars(self.fitted_.table)
            state["fitted_"] = {"fitted": self.fitted_.to_plain(), "table": dict(table)}
        return {**state, "base": base_to_plain(self.base), "device": device_name(self.device)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = {**state, "base": base_from_plain(state["base"])}
        if "fitted_" in state:
            kept = state["fitted_"]
            table = Description(**kept["table"])
            fitted = self._fitted_class.from_plain(kept["fitted"], table, check=False)
            state["fitted_"] = fitted
        super().__setstate__(state)  # type: ignore[misc]

    def _note_columns(self, table: Description) -> None:
        """Let scikit-learn know the columns of a table that was not seen here."""
        self.n_features_in_ = len(table.labels)
        if named_for_sklearn(table.labels):
            self.feature_names_in_ = np.array(table.labels, dtype=object)


def _check_savable(families: Iterable[object]) -> None:
    """Raise ValueError if one of the families is what no file can hold."""
    if any(callable(family) for family in families):
        raise ValueError(
            "flow: a callable cannot be written to a file; pickle the model where the callable can "
            "be imported, or register it as a family with skgbnf.flows.register_family."
        )
