"""Parameters that the autoencoder and density matching share, with their checks."""

from functools import partial

from skgbnf._checks import (
    MOST_TRANSFORMS,
    Check,
    check_choice,
    check_count,
    check_hidden_layer_sizes,
    check_integer,
    check_not_negative,
    check_path,
    check_positive,
    check_verbose,
    or_none,
)
from skgbnf._device import check_device
from skgbnf.flows import ACTIVATIONS, families
from skgbnf.variational.elbo import OBJECTIVES


def check_invertible(name: str, flow: object) -> None:
    """Raise unless a family is cheap, and has a gradient, in both directions."""
    check_choice(name, flow, tuple(family.name for family in families() if family.invertible))


SHARED_CHECKS: dict[str, Check] = {
    "n_estimators": check_count,
    "flow": check_invertible,
    "n_transforms": partial(check_integer, smallest=1, largest=MOST_TRANSFORMS),
    "hidden_layer_sizes": check_hidden_layer_sizes,
    "activation": partial(check_choice, allowed=tuple(ACTIVATIONS)),
    "objective": partial(check_choice, allowed=tuple(OBJECTIVES)),
    "entropy_weight": check_positive,
    "max_iter": check_count,
    "fine_tune": partial(check_integer, smallest=0),
    "learning_rate_init": check_positive,
    "max_time": or_none(check_positive),
    "n_iter_no_change": check_count,
    "tol": check_not_negative,
    "checkpoint": check_path,
    "device": lambda name, value: check_device(value),
    "verbose": lambda name, value: check_verbose(value),
}
"""Checks by name; scikit-learn checks `random_state`."""
