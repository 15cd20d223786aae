"""The function that users call: check arguments, match, return the density."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from skgbnf._random import RandomState
from skgbnf.elbo import BOUNDS
from skgbnf.fitting import training_mode
from skgbnf.flows import ACTIVATIONS, INVERTIBLE_FAMILIES, Architecture
from skgbnf.persistence import FittedComponent
from skgbnf.validation import (
    MOST_TRANSFORMS,
    MOST_UNITS,
    check_choice,
    check_device,
    check_hidden_layer_sizes,
    check_integer,
    check_real,
    check_verbose,
    fit_device,
    seed_from,
)
from skgbnf.variational.matched import MatchedDensity
from skgbnf.variational.matching import Matching, Settings


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
    max_iter: int = 2000,
    fine_tune: int = 1,
    batch_size: int = 256,
    learning_rate_init: float = 5e-3,
    tol: float = 1e-3,
    device: str | torch.device = "cpu",
    random_state: RandomState = None,
    verbose: int = 0,
) -> MatchedDensity:
    r"""Fit a boosted mixture of flows to an unnormalised log-density.

    Variational inference: no rows are needed, only a function whose exponential is proportional
    to the density. A mixture G grows by rounds that raise the bound

    .. math:: E_{z \sim G}[\log p(z) - \log G(z)] = \log \int p - KL(G \,\|\, p / \int p).

    The divergence punishes mass where there is none in p, not mass that is missing: modes far
    from each other may be missed.

    Parameters
    ----------
    log_prob : callable
        Takes a Tensor of shape (n_samples, n_features) and returns one of shape (n_samples,),
        differentiable by torch, finite.

    n_features : int
        Number of columns.

    n_estimators : int, default=4
        Largest number of rounds.

    flow : {"realnvp", "glow", "nsf_coupling", "affine"}, default="realnvp"
        Family of the components: affine or spline coupling, or a full-covariance Gaussian.

    n_transforms : int, default=4
        Layers of each flow.

    hidden_layer_sizes : tuple of int, default=(64,)
        Widths of the networks in each layer.

    activation : {"relu", "tanh", "elu", "silu"}, default="tanh"
        Non-linearity of the networks.

    objective : {"greedy", "gradient"}, default="greedy"
        What rounds after the first maximise: the bound of the whole mixture as a function of the
        new component, or its functional gradient as in [1]_.

    entropy_weight : float, default=1.0
        Factor of the logarithm of densities in rounds after the first.

    max_iter : int, default=2000
        Training steps of a round, and of a pass of fine-tuning.

    fine_tune : int, default=1
        Passes after the last round in which all components are trained together.

    batch_size : int, default=256
        Draws in a training step.

    learning_rate_init : float, default=0.005
        Learning rate of Adam at the start of a round; it falls along half a cosine.

    tol : float, default=0.001
        Smallest gain of the bound, in nats, for which a round is kept; the first that gains less
        is the last.

    device : {"cpu", "cuda", "auto"} or torch.device, default="cpu"
        Where to compute.

    random_state : int, RandomState instance or None, default=None
        The same integer gives the same density on one machine.

    verbose : int, default=0
        Whether to print a line for each round.

    Returns
    -------
    density : MatchedDensity
        With `score_samples`, `sample` and the bound after each round.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range, `log_prob` does not return one finite number for each
        row with a gradient, near the origin or where the first component draws, or training
        diverges.

    Warns
    -----
    sklearn.exceptions.ConvergenceWarning
        If many training steps had a loss that was not finite.

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
    >>> density = skgbnf.fit_to_log_prob(ring, 2, n_estimators=2, max_iter=20, random_state=0)
    >>> density.sample(3, random_state=0).shape
    (3, 2)
    """
    check_integer("n_features", n_features, 1, MOST_UNITS)
    check_integer("n_estimators", n_estimators, 1)
    check_choice("flow", flow, INVERTIBLE_FAMILIES)
    check_integer("n_transforms", n_transforms, 1, MOST_TRANSFORMS)
    hidden_layer_sizes = check_hidden_layer_sizes(hidden_layer_sizes)
    check_choice("activation", activation, tuple(ACTIVATIONS))
    check_choice("objective", objective, tuple(BOUNDS))
    check_real("entropy_weight", entropy_weight, 0, np.inf, open_low=True)
    check_integer("max_iter", max_iter, 1)
    check_integer("fine_tune", fine_tune, 0)
    check_integer("batch_size", batch_size, 2)
    check_real("learning_rate_init", learning_rate_init, 0, np.inf, open_low=True)
    check_real("tol", tol, 0, np.inf, open_low=False)
    check_device(device)
    check_verbose(verbose)
    architecture = Architecture(
        kind=flow,
        n_features=int(n_features),
        n_transforms=int(n_transforms),
        hidden_layer_sizes=hidden_layer_sizes,
        activation=activation,
        splines=None,
    )
    settings = Settings(
        int(max_iter), int(batch_size), learning_rate_init, objective, entropy_weight
    )
    where = fit_device(device)
    matching = Matching(log_prob, architecture, settings, seed_from(random_state), where)
    with training_mode(where):
        _check_log_prob(log_prob, int(n_features), where)
        matching.run(int(n_estimators), int(fine_tune), tol, verbose)
    components = [
        FittedComponent.from_module(architecture, module) for module in matching.components
    ]
    weights = matching.weights.cpu().numpy()
    return MatchedDensity(components, weights, np.array(matching.bounds), matching.error, device)


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
