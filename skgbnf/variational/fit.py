"""Variational inference by one function: it checks its arguments, fits and returns the density."""

import math
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

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
from skgbnf.table.bounds import BoundsLike, check_bounds, limits_from
from skgbnf.training.objective import TrainingSettings
from skgbnf.training.progress import Progress, make_progress
from skgbnf.variational.matched import MatchedDensity
from skgbnf.variational.matching import Matching
from skgbnf.variational.parameters import SHARED_CHECKS
from skgbnf.variational.target import checked_target


def fit_to_log_prob(
    log_prob: Callable[[Any], Any],
    n_features: int,
    *,
    grad_log_prob: Callable[[np.ndarray], np.ndarray] | None = None,
    bounds: BoundsLike = None,
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
        Log-density up to a constant, in nats. It takes a Tensor of shape (n_samples, n_features)
        and returns one of shape (n_samples,), finite and differentiable by torch. With
        `grad_log_prob` it takes and returns NumPy arrays.

    n_features : int
        Number of features.

    What most fits set:

    grad_log_prob : callable or None, default=None
        Gradient of a `log_prob` of NumPy arrays: from a float64 array of shape (n_samples,
        n_features) to one of the same shape. Such a fit is slow: each training step waits for both
        functions, on the CPU and in double precision.

    bounds : dict, sequence of pairs, pair, scipy.optimize.Bounds or None, default=None
        Intervals of features: ``{2: (0, None)}`` by position, a pair ``(lower, upper)`` for each
        feature, or one pair for all. None, -inf or inf is no bound. `log_prob` is then the density
        within the bounds, and is never called outside or on one: flows are fitted to the logarithm
        of the distance from the bound, or of the ratio of both distances, and the Jacobian of that
        map is added.

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
        The fitted density, with `score_samples`, `sample`, the lower bound after each round, and
        what importance sampling says of the fit.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range; if `log_prob` does not return one finite number with a
        gradient for each sample, near the origin or where the first component draws; if it takes
        NumPy arrays and there is no `grad_log_prob`, or one that is not its gradient; if the
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
    >>> import numpy as np
    >>> import skgbnf
    >>> def ring(z):
    ...     return -8 * (z.norm(dim=1) - 2) ** 2
    >>> density = skgbnf.fit_to_log_prob(ring, 2, flow="affine", max_iter=5, random_state=0)
    >>> density.sample(3, random_state=0).shape
    (3, 2)

    A parameter that is positive, as a function of NumPy arrays with its gradient:

    >>> density = skgbnf.fit_to_log_prob(
    ...     lambda z: 2 * np.log(z[:, 0]) - z[:, 0],
    ...     1,
    ...     grad_log_prob=lambda z: 2 / z - 1,
    ...     bounds=(0, None),
    ...     n_estimators=1,
    ...     max_iter=20,
    ...     random_state=0,
    ... )
    >>> round(float(np.exp(density.log_evidence_)), 1)  # the integral is 2
    2.0
    """
    arguments = dict(locals())
    functions = arguments.pop("log_prob"), arguments.pop("grad_log_prob")
    for name, check in CHECKS.items():
        check(name, arguments[name])
    return _match(functions, arguments)


def _match(functions: tuple[Any, Any], arguments: dict[str, Any]) -> MatchedDensity:
    """Run the rounds, with arguments that have been checked."""
    until = Limits.of(arguments, time.perf_counter())
    where = fit_device(arguments["device"])
    n_estimators, max_time = arguments["n_estimators"], arguments["max_time"]
    progress = make_progress(arguments["verbose"], n_estimators, max_time)
    limits = limits_from(arguments["bounds"], range(int(arguments["n_features"])))
    parameters = _parameters(arguments, limits)
    earlier = _earlier(arguments["resume_from"], parameters)
    checkpoint = arguments["checkpoint"]
    if checkpoint is not None:
        check_file_can_be_made("checkpoint", checkpoint)
    seed = seed_from(arguments["random_state"]) if earlier is None else earlier.seed
    with training_mode(where):
        matching = Matching(
            log_prob=checked_target(*functions, limits, where),
            architecture=_architecture(arguments),
            settings=_settings(arguments, progress),
            objective=arguments["objective"],
            entropy_weight=float(arguments["entropy_weight"]),
            seed=seed,
            device=where,
        )
        if earlier is not None:
            check_growing(until.n_estimators, len(earlier.mixture.components))
            _continue(matching, earlier)

        def keep() -> None:
            if checkpoint is not None:
                save(_matched(matching, parameters, seed, arguments["device"]), checkpoint)

        interrupt = run_rounds(matching, until, progress, keep)
        if interrupt is not None:
            raise interrupt
        return _matched(matching, parameters, seed, arguments["device"])


def _parameters(arguments: dict[str, Any], limits: np.ndarray) -> dict[str, Any]:
    """The arguments that finished rounds depend on, as JSON knows them."""
    parameters = {name: plain(arguments[name]) for name in _DECISIVE}
    parameters["bounds"] = limits.tolist()
    if isinstance(arguments["random_state"], int | np.integer):
        parameters["random_state"] = int(arguments["random_state"])
    return parameters


def _matched(
    matching: Matching, parameters: dict[str, Any], seed: int, device: str | torch.device
) -> MatchedDensity:
    report = matching.importance()
    return MatchedDensity(
        mixture=matching.fitted(),
        history=matching.history(),
        validation_error_=matching.error,
        effective_sample_size_=report.effective_sample_size,
        pareto_k_=report.pareto_k,
        log_evidence_=report.log_evidence,
        log_evidence_error_=report.log_evidence_error,
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


CHECKS: dict[str, Check] = {
    **SHARED_CHECKS,
    "bounds": lambda name, value: check_bounds(value),
    "n_features": partial(check_integer, smallest=1, largest=MOST_UNITS),
    "batch_size": partial(check_integer, smallest=2),
    "resume_from": check_path,
}
"""Checks of arguments by name; functions are tried, and scikit-learn checks `random_state`."""

_DECISIVE = (
    "n_features", "flow", "n_transforms", "hidden_layer_sizes", "activation", "objective",
    "entropy_weight", "max_iter", "batch_size", "learning_rate_init",
)  # fmt: skip
"""Arguments that finished rounds depend on, beside `bounds` and a seed."""
