"""Variational inference by one function: it checks its arguments, fits and returns the density."""

import math
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skgbnf._checks import (
    MOST_UNITS,
    Check,
    check_file_can_be_made,
    check_hidden_layer_sizes,
    check_integer,
    check_path,
)
from skgbnf._device import fit_device, training_mode
from skgbnf._random import RandomState, seed_from
from skgbnf.boosting.base import Limits, check_growing
from skgbnf.boosting.rounds import run_rounds
from skgbnf.flows import Architecture
from skgbnf.persistence import check_same_parameters, load, plain, save
from skgbnf.training.objective import TrainingSettings
from skgbnf.training.progress import Progress, make_progress
from skgbnf.variational.matched import MatchedDensity
from skgbnf.variational.matching import Matching
from skgbnf.variational.parameters import SHARED_CHECKS


def fit_to_log_prob(
    log_prob: Callable[[Tensor], Tensor],
    n_features: int,
    *,
    n_estimators: int = 4,
    flow: str = "realnvp",
    n_transforms: int = 4,
    hidden_layer_sizes: int | Sequence[int] = (64,),
    activation: str = "tanh",
    objective: str = "greedy",
    entropy_weight: float = 1.0,
    max_iter: int = 200,
    fine_tune: int = 1,
    batch_size: int = 256,
    learning_rate_init: float = 5e-3,
    max_time: float | None = None,
    n_iter_no_change: int = 1,
    tol: float = 1e-3,
    checkpoint: str | os.PathLike[str] | None = None,
    resume_from: str | os.PathLike[str] | None = None,
    device: str | torch.device = "cpu",
    random_state: RandomState = None,
    verbose: int = 0,
) -> MatchedDensity:
    r"""Fit a boosted mixture of flows to an unnormalised log-density: variational inference.

    No samples are needed, only a function whose exponential is proportional to the density p. The
    mixture G grows by rounds that raise the lower bound

    .. math:: E_{z \sim G}[\log p(z) - \log G(z)] = \log \int p - KL(G \,\|\, p / \int p).

    This divergence penalises mass of G where p has none, and not mass of p that G lacks: modes far
    from each other may be missed.

    Parameters
    ----------
    log_prob : callable
        Log-density up to a constant. It takes a Tensor of shape (n_samples, n_features) and returns
        one of shape (n_samples,), finite and differentiable by torch.

    n_features : int
        Number of features.

    What most fits set:

    n_estimators : int, default=4
        Maximum number of rounds. Fewer are kept if the bound stops improving.

    max_time : float or None, default=None
        Time limit in seconds; None for no limit. The fit ends at the next safe point with the best
        mixture so far.

    random_state : int, RandomState instance or None, default=None
        Seed: the same integer gives the same density on one machine.

    verbose : int, default=0
        0 prints nothing. 1 shows progress bars of rounds and epochs on a terminal with tqdm, and
        otherwise prints a line per round. 2 also prints a line for each epoch.

    The model:

    flow : {"realnvp", "glow", "nsf_coupling", "affine"}, default="realnvp"
        Family of the components: affine or spline coupling layers, or a Gaussian with a full
        covariance.

    n_transforms : int, default=4
        Layers of each flow.

    hidden_layer_sizes : int or tuple of int, default=(64,)
        Widths of the hidden layers of the networks in each layer.

    activation : {"relu", "tanh", "elu", "silu"}, default="tanh"
        Activation function of the networks.

    The training:

    objective : {"greedy", "gradient"}, default="greedy"
        Objective of the rounds after the first. "greedy": the bound of the whole mixture, as a
        function of the new component. "gradient": the functional gradient of the bound, as in
        [1]_.

    entropy_weight : float, default=1.0
        Factor of the log-densities in the objective of rounds after the first; above 1 makes new
        components broader.

    learning_rate_init : float, default=0.005
        Learning rate of Adam at the start of a round; it decays along half a cosine.

    batch_size : int, default=256
        Draws per training step.

    max_iter : int, default=200
        Maximum number of epochs of a round, and of a pass of fine-tuning. An epoch is 10 training
        steps.

    fine_tune : int, default=1
        Passes after the last round in which all components are trained together.

    When to stop:

    n_iter_no_change : int, default=1
        Rounds without a gain of `tol` after which boosting stops.

    tol : float, default=0.001
        Smallest gain in the bound that counts, in nats.

    Running and continuing:

    checkpoint : str, path-like or None, default=None
        File to which the density is saved after each round.

    resume_from : str, path-like or None, default=None
        Checkpoint of an interrupted fit. With the same `log_prob` and arguments the result is that
        of a fit without interruption, bit for bit unless `max_time` is set.

    device : {"cpu", "cuda", "auto"} or torch.device, default="cpu"
        Device to compute on; "auto" is a GPU if there is one.

    Returns
    -------
    density : MatchedDensity
        The fitted density, with `score_samples`, `sample` and the bound after each round.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range; if `log_prob` does not return one finite number with a
        gradient for each sample, near the origin or where the first component draws; if the
        checkpoint is of another `log_prob` or of other arguments; or if training diverges.

    Warns
    -----
    sklearn.exceptions.ConvergenceWarning
        If the loss was not finite in many training steps.

    References
    ----------
    .. [1] Gradient Boosted Normalizing Flows. R. Giaquinto, A. Banerjee, 2020.
       https://arxiv.org/abs/2002.11896
    .. [2] Variational Inference with Normalizing Flows. D. J. Rezende, S. Mohamed, 2015.
       https://arxiv.org/abs/1505.05770

    Examples
    --------
    >>> import skgbnf
    >>> def ring(z):
    ...     return -8 * (z.norm(dim=1) - 2) ** 2
    >>> density = skgbnf.fit_to_log_prob(ring, 2, flow="affine", max_iter=5, random_state=0)
    >>> density.sample(3, random_state=0).shape
    (3, 2)
    """
    arguments = dict(locals())
    del arguments["log_prob"]
    for name, check in CHECKS.items():
        check(name, arguments[name])
    return _match(log_prob, arguments)


def _match(log_prob: Callable[[Tensor], Tensor], arguments: dict[str, Any]) -> MatchedDensity:
    """Run the rounds, with arguments that have been checked."""
    limits = Limits.of(arguments, time.perf_counter())
    where = fit_device(arguments["device"])
    n_estimators, max_time = arguments["n_estimators"], arguments["max_time"]
    progress = make_progress(arguments["verbose"], n_estimators, max_time)
    parameters = {name: plain(arguments[name]) for name in _DECISIVE}
    if isinstance(arguments["random_state"], int | np.integer):
        parameters["random_state"] = int(arguments["random_state"])
    earlier = _earlier(arguments["resume_from"], parameters)
    checkpoint = arguments["checkpoint"]
    if checkpoint is not None:
        check_file_can_be_made("checkpoint", checkpoint)
    seed = seed_from(arguments["random_state"]) if earlier is None else earlier.seed
    with training_mode(where):
        _check_log_prob(log_prob, int(arguments["n_features"]), where)
        matching = Matching(
            log_prob=log_prob,
            architecture=_architecture(arguments),
            settings=_settings(arguments, progress),
            objective=arguments["objective"],
            entropy_weight=float(arguments["entropy_weight"]),
            seed=seed,
            device=where,
        )
        if earlier is not None:
            check_growing(limits.n_estimators, len(earlier.mixture.components))
            _continue(matching, earlier)

        def keep() -> None:
            if checkpoint is not None:
                save(_matched(matching, parameters, seed, arguments["device"]), checkpoint)

        interrupt = run_rounds(matching, limits, progress, keep)
    if interrupt is not None:
        raise interrupt
    return _matched(matching, parameters, seed, arguments["device"])


def _matched(
    matching: Matching, parameters: dict[str, Any], seed: int, device: str | torch.device
) -> MatchedDensity:
    return MatchedDensity(
        mixture=matching.fitted(),
        history=matching.history(),
        validation_error_=matching.error,
        parameters=parameters,
        seed=seed,
        device=device,
    )


def _architecture(arguments: dict[str, Any]) -> Architecture:
    """Of the components, from the checked arguments."""
    return Architecture(
        family=arguments["flow"],
        n_features=int(arguments["n_features"]),
        n_transforms=int(arguments["n_transforms"]),
        hidden_layer_sizes=check_hidden_layer_sizes(
            "hidden_layer_sizes", arguments["hidden_layer_sizes"]
        ),
        activation=arguments["activation"],
        splines=None,
    )


def _settings(arguments: dict[str, Any], progress: Progress) -> TrainingSettings:
    """Of a round, from the checked arguments; it never ends early for want of a gain."""
    return TrainingSettings(
        max_iter=int(arguments["max_iter"]),
        batch_size=int(arguments["batch_size"]),
        learning_rate=float(arguments["learning_rate_init"]),
        patience=math.inf,
        n_restarts=0,
        on_epoch=progress.epoch,
        on_part=progress.part,
    )


def _earlier(
    path: str | os.PathLike[str] | None, parameters: dict[str, Any]
) -> MatchedDensity | None:
    """The density of a file, if it was fitted with the same arguments; None for no file."""
    if path is None:
        return None
    earlier = load(path)
    if not isinstance(earlier, MatchedDensity):
        raise ValueError(f"resume_from: the file holds a {type(earlier).__name__}.")
    check_same_parameters(earlier.parameters, parameters)
    return earlier


def _continue(matching: Matching, earlier: MatchedDensity) -> None:
    matching.restore(earlier.mixture, earlier.history)
    if not matching.agrees():
        raise ValueError("resume_from: the rounds in the file were fitted to another log_prob.")


def _check_log_prob(log_prob: object, n_features: int, device: torch.device) -> None:
    """Raise unless the function returns a differentiable, finite number for each row."""
    if not callable(log_prob):
        raise TypeError(f"log_prob must be callable, got {log_prob!r}.")
    z = (
        torch.zeros(3, n_features, device=device, dtype=torch.float32)
        + torch.arange(3, device=device)[:, None] / 2
    )
    values = log_prob(z.requires_grad_())
    if not isinstance(values, Tensor) or values.shape != (3,):
        got = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise ValueError(
            f"log_prob must return a Tensor of shape (n_samples,) for rows of shape "
            f"(n_samples, {n_features}), got {got} for 3 rows."
        )
    if not values.requires_grad:
        raise ValueError("log_prob: what it returns has no gradient with respect to its argument.")
    if not torch.isfinite(values).all():
        raise ValueError(f"log_prob returned {values.tolist()} near the origin; it must be finite.")


CHECKS: dict[str, Check] = {
    **SHARED_CHECKS,
    "n_features": partial(check_integer, smallest=1, largest=MOST_UNITS),
    "batch_size": partial(check_integer, smallest=2),
    "resume_from": check_path,
}
"""Checks of the arguments by name; `log_prob` is called and scikit-learn checks `random_state`."""

_DECISIVE = (
    "n_features", "flow", "n_transforms", "hidden_layer_sizes", "activation", "objective",
    "entropy_weight", "max_iter", "batch_size", "learning_rate_init",
)  # fmt: skip
"""Arguments that finished rounds depend on."""
