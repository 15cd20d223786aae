"""An unnormalised log-density matched by a boosted mixture of flows."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from sklearn.utils.validation import check_array
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from skgbnf._random import derive_seed, seeded
from skgbnf.elbo import BOUNDS, Draws, fit_weights, mixture_bound
from skgbnf.flows import ACTIVATIONS, INVERTIBLE_FAMILIES, Architecture
from skgbnf.mixture import FlowMixture
from skgbnf.persistence import (
    FittedComponent,
    components_from_state,
    components_to_state,
    persistent,
)
from skgbnf.preparation import DTYPES
from skgbnf.training import Descent, cosine
from skgbnf.validation import (
    check_choice,
    check_device,
    check_hidden_layer_sizes,
    check_integer,
    check_real,
    fit_device,
    score_device,
    seed_from,
)

_JUDGE_KEY, _ROUND_KEY, _FINE_TUNE_KEY = 0, 1, 2
_WARM_UP = 0.5
_COOLEST = 0.05
_FINE_TUNE_RATE = 0.5
_JUDGE_DRAWS = 4000


@persistent
@dataclass(frozen=True)
class MatchedDensity:
    """A normalised mixture of flows close to an unnormalised density; see `fit_to_log_prob`.

    Attributes
    ----------
    estimators_ : list of FittedComponent
        The components, their parameters as NumPy arrays.

    estimator_weights_ : ndarray of shape (`n_estimators_`,)
        They sum to 1.

    bounds_ : ndarray of shape (`n_estimators_`,)
        Evidence lower bound after each round, in nats: logarithm of the integral of what was
        matched, less the Kullback-Leibler divergence from it. The last one is after fine-tuning.

    bound_error_ : float
        Standard error of the last bound, from the draws it was estimated with.

    device : str
        Where to compute.
    """

    estimators_: list[FittedComponent]
    estimator_weights_: np.ndarray
    bounds_: np.ndarray
    bound_error_: float
    device: str = field(default="cpu", repr=False)

    @property
    def n_features_(self) -> int:
        """Number of columns."""
        return self.estimators_[0].architecture.n_features

    @property
    def n_estimators_(self) -> int:
        """Number of components."""
        return len(self.estimators_)

    def score_samples(self, Z):
        """Log-density of each row.

        Parameters
        ----------
        Z : array-like of shape (n_samples, n_features)

        Returns
        -------
        log_density : ndarray of shape (n_samples,)
            In nats; float32 if Z is, otherwise float64.
        """
        Z = check_array(Z, dtype=DTYPES, input_name="Z")
        if Z.shape[1] != self.n_features_:
            raise ValueError(f"Z has {Z.shape[1]} columns, but the density {self.n_features_}.")
        rows = torch.from_numpy(np.array(Z)).to(score_device(self.device))
        with torch.no_grad():
            return self._mixture(rows.dtype).log_prob(rows).cpu().numpy()

    def sample(self, n_samples=1, random_state=None):
        """Draw rows.

        Parameters
        ----------
        n_samples : int, default=1

        random_state : int, RandomState instance or None, default=None

        Returns
        -------
        Z : ndarray of shape (n_samples, n_features)
            float64, in random order.
        """
        check_integer("n_samples", n_samples, 1)
        mixture = self._mixture(torch.float64)
        return mixture.sample(int(n_samples), seed_from(random_state)).cpu().numpy()

    def _get_state(self) -> tuple[dict, dict[str, np.ndarray]]:
        """JSON data and arrays from which :meth:`_from_state` restores the density."""
        components, arrays = components_to_state(self.estimators_)
        arrays.update(weights=self.estimator_weights_, bounds=self.bounds_)
        data = {"components": components, "error": self.bound_error_, "device": self.device}
        return data, arrays

    @classmethod
    def _from_state(cls, data: dict, arrays: dict[str, np.ndarray]) -> "MatchedDensity":
        """Restore a density, checking that data and arrays fit together."""
        check_device(data["device"])
        components = components_from_state(data["components"], arrays)
        weights, bounds = arrays["weights"], arrays["bounds"]
        if not components or {len(weights), len(bounds)} != {len(components)}:
            raise ValueError("it has more or fewer weights or bounds than components")
        if not ((weights > 0).all() and np.isclose(weights.sum(), 1.0, atol=1e-6)):
            raise ValueError("its weights are not positive or do not sum to 1")
        if any(fitted.architecture.n_context for fitted in components):
            raise ValueError("one of its components needs a context")
        if len({fitted.architecture.n_features for fitted in components}) != 1:
            raise ValueError("its components have different numbers of columns")
        return cls(components, weights, bounds, float(data["error"]), data["device"])

    def _mixture(self, dtype: torch.dtype) -> FlowMixture:
        device = score_device(self.device)
        components = [fitted.to_module(dtype, device) for fitted in self.estimators_]
        weights = torch.from_numpy(self.estimator_weights_).to(device, dtype)
        return FlowMixture(components, weights)


def fit_to_log_prob(
    log_prob,
    n_features,
    *,
    n_estimators=4,
    flow="realnvp",
    n_transforms=4,
    hidden_layer_sizes=(64,),
    activation="tanh",
    objective="greedy",
    entropy_weight=1.0,
    max_iter=2000,
    fine_tune=1,
    batch_size=256,
    learning_rate_init=5e-3,
    tol=1e-3,
    device="cpu",
    random_state=None,
    verbose=0,
):
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

    flow : {"realnvp", "nsf_coupling", "affine"}, default="realnvp"
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

    device : {"cpu", "cuda", "auto"}, default="cpu"
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
        If an argument is out of its range, or `log_prob` does not return one finite number for
        each row with a gradient.

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
    check_integer("n_features", n_features, 1)
    check_integer("n_estimators", n_estimators, 1)
    check_choice("flow", flow, INVERTIBLE_FAMILIES)
    check_integer("n_transforms", n_transforms, 1)
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
    architecture = Architecture(
        kind=flow,
        n_features=int(n_features),
        n_transforms=int(n_transforms),
        hidden_layer_sizes=hidden_layer_sizes,
        activation=activation,
        margins=None,
    )
    settings = _Settings(
        int(max_iter), int(batch_size), learning_rate_init, objective, entropy_weight
    )
    where = fit_device(device)
    _check_log_prob(log_prob, int(n_features), where)
    matching = _Matching(log_prob, architecture, settings, seed_from(random_state), where)
    limits = threadpool_limits(limits=1, user_api="openmp")
    with limits, torch.inference_mode(False), torch.enable_grad():
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
    z = torch.zeros(3, n_features, device=device) + torch.arange(3, device=device)[:, None] / 2
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


@dataclass(frozen=True)
class _Settings:
    max_iter: int
    batch_size: int
    learning_rate: float
    objective: str
    entropy_weight: float


class _Matching:
    """A mixture that grows by rounds towards a log-density.

    Attributes
    ----------
    components : nn.ModuleList

    weights : Tensor of shape (n_components,)

    bounds : list of float

    error : float
        Standard error of the last bound.
    """

    def __init__(
        self,
        log_prob: Callable[[Tensor], Tensor],
        architecture: Architecture,
        settings: _Settings,
        seed: int,
        device: torch.device,
    ) -> None:
        self.components, self.bounds, self.error = nn.ModuleList(), [], 0.0
        self.weights = torch.ones(0, dtype=torch.float64, device=device)
        self._log_prob, self._architecture, self._settings = log_prob, architecture, settings
        self._seed, self._device = seed, device
        generator = torch.Generator().manual_seed(derive_seed(seed, _JUDGE_KEY))
        self._judge_noise = self._noise(_JUDGE_DRAWS, generator)

    def run(self, n_estimators: int, fine_tune: int, tol: float, verbose: int) -> None:
        """Add rounds while they gain, then train all together."""
        while len(self.components) < n_estimators and self._add_round(tol):
            self._report(f"round {len(self.components)}/{n_estimators}", verbose)
        for i in range(fine_tune):
            self._fine_tune(i)
            self._report("fine-tuning", verbose)

    def _report(self, what: str, verbose: int) -> None:
        if verbose:
            print(f"[skgbnf] {what}: bound {self.bounds[-1]:.4f} +- {self.error:.4f} nats")

    def _add_round(self, tol: float) -> bool:
        """Train one more component; keep it, and say so, if the bound gains."""
        n_rounds = len(self.components)
        seed = derive_seed(self._seed, _ROUND_KEY, n_rounds)
        with seeded(seed, self._device):
            component = self._architecture.build().to(self._device)
        self.components.requires_grad_(False)
        before = self.weights, self.error
        self.components.append(component)
        rho = 1 / (n_rounds + 1)
        self.weights = torch.cat([(1 - rho) * self.weights, self.weights.new_tensor([rho])])
        loss = self._round_loss(rho) if n_rounds else self._joint_loss
        self._train(component, loss, self._settings.learning_rate, seed, warm_up=_WARM_UP)
        bound = self._judge()
        if n_rounds and not bound > self.bounds[-1] + tol:
            del self.components[-1]
            self.weights, self.error = before
            return False
        self.bounds.append(bound)
        return True

    def _fine_tune(self, number: int) -> None:
        """Train all components on the bound of the mixture; put them back if it falls."""
        before = copy.deepcopy(self.components.state_dict()), self.weights, self.error
        self.components.requires_grad_(True)
        rate = _FINE_TUNE_RATE * self._settings.learning_rate
        seed = derive_seed(self._seed, _FINE_TUNE_KEY, number)
        self._train(self.components, self._joint_loss, rate, seed, warm_up=0.0)
        bound = self._judge()
        if bound > self.bounds[-1]:
            self.bounds[-1] = bound
        else:
            self.components.load_state_dict(before[0])
            self.weights, self.error = before[1:]

    def _train(
        self, module: nn.Module, loss: Callable, learning_rate: float, seed: int, warm_up: float
    ) -> None:
        """Descend a loss; leave the module in the average of its last states."""
        generator = torch.Generator().manual_seed(derive_seed(seed, 1))
        descent = Descent(module, learning_rate)
        for step in range(self._settings.max_iter):
            progress = step / self._settings.max_iter
            warmth = 1.0
            if progress < warm_up:
                warmth = _COOLEST + (1 - _COOLEST) * progress / warm_up
            if not descent.step(loss(generator, warmth, progress), cosine(progress)):
                break
        module.load_state_dict(descent.average.state_dict())

    def _joint_loss(self, generator: torch.Generator, warmth: float, progress: float) -> Tensor:
        """Minus the bound of the mixture, each component with its share of the draws."""
        log_p, log_probs = self._strata(self._noise(self._settings.batch_size, generator))
        return -mixture_bound(warmth * log_p, log_probs, self.weights.to(log_p)).mean()

    def _round_loss(self, rho: float) -> Callable:
        """Minus what a later round maximises."""
        *earlier, component = self.components
        weights = self.weights[:-1] / self.weights[:-1].sum()
        objective = BOUNDS[self._settings.objective]

        def draws(z: Tensor, warmth: float) -> Draws:
            log_probs = torch.stack([g().log_prob(z) for g in earlier], dim=-1)
            log_G = torch.logsumexp(log_probs + weights.log().to(z), dim=-1)
            return Draws(warmth * self._log_prob(z), component().log_prob(z), log_G)

        def loss(generator: torch.Generator, warmth: float, progress: float) -> Tensor:
            n_draws = self._settings.batch_size // 2
            noise = self._noise(n_draws, generator)
            origin = torch.multinomial(weights.cpu(), n_draws, True, generator=generator)
            with torch.no_grad():
                old = torch.cat([
                    earlier[k]().transform.inv(self._noise(int((origin == k).sum()), generator))
                    for k in origin.unique().tolist()
                ])  # fmt: skip
            new = component().transform.inv(noise)
            entropy_weight = self._settings.entropy_weight
            pair = draws(new, warmth), draws(old, warmth)
            return -objective(*pair, rho, entropy_weight, progress)

        return loss

    def _strata(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """What :func:`skgbnf.elbo.mixture_bound` needs, from draws of every component."""
        distributions = [component() for component in self.components]
        z = torch.stack([g.transform.inv(noise) for g in distributions])
        log_p = self._log_prob(z.flatten(0, 1)).reshape(z.shape[:2])
        return log_p, torch.stack([g.log_prob(z) for g in distributions], dim=-1)

    @torch.no_grad()
    def _judge(self) -> float:
        """Fit the weights; return the bound and remember its standard error."""
        log_p, log_probs = self._strata(self._judge_noise)
        log_p, log_probs = log_p.double(), log_probs.double()
        self.weights = fit_weights(log_p, log_probs, self.weights)
        values = mixture_bound(log_p, log_probs, self.weights)
        self.error = float(values.std() / len(values) ** 0.5)
        return float(values.mean())

    def _noise(self, n_draws: int, generator: torch.Generator) -> Tensor:
        noise = torch.randn(n_draws, self._architecture.n_features, generator=generator)
        return noise.to(self._device)
