"""Parameters of density and regressor, checked one by one."""

from functools import partial
from numbers import Real
from typing import Any

import numpy as np

from skgbnf._checks import (
    MOST_TRANSFORMS,
    Check,
    check_choice,
    check_count,
    check_flag,
    check_fraction,
    check_hidden_layer_sizes,
    check_integer,
    check_not_negative,
    check_path,
    check_positive,
    check_verbose,
    or_auto,
    or_none,
)
from skgbnf._device import check_device
from skgbnf.boosting.objectives import OBJECTIVES
from skgbnf.flows import ACTIVATIONS, BASES, LOG_DETS, TAILS, CopulaBase, family_names
from skgbnf.predictors import MODELS
from skgbnf.table.bounds import check_bounds
from skgbnf.table.requested import check_requested

COMBINATIONS = ("sum", "product")
"""Ways to combine the components."""


def combine_of(estimator: Any) -> str:
    """How components are combined; what is conditional on features can only be a mixture."""
    return getattr(estimator, "combine", "sum")


def models_of(context_model: Any) -> tuple[str, ...]:
    """Names of the models of mean and spread that a parameter names."""
    if context_model is None:
        return ()
    if isinstance(context_model, str):
        return tuple(MODELS) if context_model == "auto" else (context_model,)
    return tuple(context_model)


def check_context_model(name: str, value: object) -> None:
    """Raise unless `value` is None, "auto", a name of a model or a list of names."""
    if isinstance(value, list | tuple):
        if not value or len(set(value)) != len(value):
            raise ValueError(f"{name}: a list must name models, each of them once, got {value!r}.")
        for model in value:
            check_choice(name, model, tuple(MODELS))
    elif value is not None:
        check_choice(name, value, ("auto", *MODELS))


def check_flow(name: str, flow: object) -> None:
    """Raise unless `flow` is "auto", a name, a callable or a list of names and callables."""
    several = isinstance(flow, list | tuple)
    if several and not flow:
        raise ValueError(f"{name}: a list must name at least one family, got an empty one.")
    for choice in flow if isinstance(flow, list | tuple) else [flow]:
        if not callable(choice):
            _check_family(name, choice, auto=not several)


def check_init(name: str, init: object) -> None:
    """Raise unless `init` is None, "auto", a name or a list of names."""
    if isinstance(init, list | tuple):
        for family in init:
            _check_family(name, family, auto=False)
    elif init is not None:
        _check_family(name, init, auto=True)


def _check_family(name: str, value: object, *, auto: bool) -> None:
    try:
        check_choice(name, value, (*(["auto"] if auto else []), *family_names()))
    except ValueError as e:
        raise ValueError(
            f"{e} A family of another package has to be registered in every process, with "
            "skgbnf.flows.register_family."
        ) from None


def check_base(base: object, n_features: int | None = None) -> None:
    """Raise unless `base` is a name or a :class:`CopulaBase` that suits the columns."""
    if not isinstance(base, str | CopulaBase):
        raise TypeError(f"base must be one of {tuple(BASES)} or a CopulaBase, got {base!r}.")
    if isinstance(base, str):
        check_choice("base", base, tuple(BASES))
    elif n_features is not None:
        base.check_columns(n_features)


def check_dequantize(value: object, n_features: int | None = None) -> None:
    """Raise unless `value` is "auto", a bool, or widths that are finite and not negative."""
    if isinstance(value, bool | np.bool_):
        return
    if isinstance(value, str):
        if value != "auto":
            raise ValueError(f'dequantize must be "auto", a bool or widths, got {value!r}.')
        return
    numbers = isinstance(value, Real | list | tuple | np.ndarray)
    try:
        widths = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        numbers = False
    if not numbers:
        raise TypeError(f'dequantize must be "auto", a bool or widths, got {value!r}.')
    if widths.ndim > 1 or not (np.isfinite(widths).all() and (widths >= 0).all()):
        raise ValueError(f"dequantize: widths must be finite and not negative, got {value!r}.")
    if n_features is not None and widths.ndim and len(widths) != n_features:
        raise ValueError(
            f"dequantize must hold a width for each of {n_features} features, got {value!r}."
        )


def check_density_parameters(estimator: Any) -> None:
    """Raise unless every constructor parameter of a density is in its range."""
    parameters = estimator.get_params(deep=False)
    for name, check in CHECKS.items():
        if name in parameters:
            check(name, parameters[name])
    is_product = combine_of(estimator) == "product"
    if estimator.fine_tune and is_product:
        raise ValueError('fine_tune must be 0 with combine="product".')
    if isinstance(estimator.n_folds, int) and is_product:
        raise ValueError('n_folds must be None or "auto" with combine="product".')


CHECKS: dict[str, Check] = {
    "n_estimators": check_count,
    "max_time": or_none(check_positive),
    "columns": lambda name, value: check_requested(value),
    "bounds": lambda name, value: check_bounds(value),
    "verbose": lambda name, value: check_verbose(value),
    "flow": check_flow,
    "init": check_init,
    "context_model": check_context_model,
    "combine": partial(check_choice, allowed=COMBINATIONS),
    "objective": partial(check_choice, allowed=tuple(OBJECTIVES)),
    "base": lambda name, value: check_base(value),
    "tail": partial(check_choice, allowed=TAILS),
    "n_transforms": or_auto(
        partial(check_integer, smallest=1, largest=MOST_TRANSFORMS), "an integer"
    ),
    "hidden_layer_sizes": or_auto(check_hidden_layer_sizes, "a tuple of integers"),
    "activation": partial(check_choice, allowed=("auto", *ACTIVATIONS)),
    "dropout": or_auto(check_fraction, "a number"),
    "log_det": partial(check_choice, allowed=tuple(LOG_DETS)),
    "scale_clamp": or_none(check_positive),
    "lipschitz_penalty": check_not_negative,
    "learning_rate_init": check_positive,
    "batch_size": or_auto(check_count, "an integer"),
    "max_iter": or_auto(check_count, "an integer"),
    "fine_tune": partial(check_integer, smallest=0),
    "validation_fraction": or_none(check_fraction),
    "n_folds": or_none(or_auto(partial(check_integer, smallest=2), "an integer")),
    "n_iter_no_change": check_count,
    "tol": check_not_negative,
    "dequantize": lambda name, value: check_dequantize(value),
    "warm_start": check_flag,
    "checkpoint": check_path,
    "device": lambda name, value: check_device(value),
}
"""Checks of the constructor's parameters by name; scikit-learn checks `random_state`."""
