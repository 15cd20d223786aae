"""A network that gives the density of each variable, whatever is known of the others."""

import math
from collections.abc import Sequence
from itertools import accumulate, pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skgbnf.flows.dropout import Dropout
from skgbnf.flows.interfaces import DataInitialised, Stackable
from skgbnf.flows.numbers import (
    LARGEST_ANGLE_LOG_SCALE,
    Numbers,
    Places,
    draw_logistic,
    logistic_log_prob,
)
from skgbnf.flows.options import ACTIVATIONS
from skgbnf.flows.parts import KnowsParts
from skgbnf.flows.variables import Variable, check_parents

_N_LOGISTICS = 10
_SPREAD = 1.5
_LOG_SCALE = math.log(0.25)
_LOG_SCALE_BOUND = 5.0
_KNOTS = (-2.5, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.5)
_N_INPUTS = len(_KNOTS) + 1
_N_HARMONICS = 3
_LARGEST_INPUT = 8.0
_OWN_ORDER = 0.5
_PSEUDO_COUNT = 0.5


class RandomMasks(Dropout):
    """What decides which variables of a training sample are known, while there is a generator."""

    def __init__(self) -> None:
        super().__init__(0.0)

    def draw(self, shape: Sequence[int], like: Tensor) -> Tensor:
        """Uniform numbers."""
        draws = torch.rand(*shape, generator=self.generator, dtype=torch.float32, device="cpu")
        return draws.to(like.device)


class MaskedNetwork(KnowsParts, DataInitialised, Stackable):
    r"""Autoregressive density in any order of the variables, by one network.

    The network sees the variables that are known and gives the distribution of each other one:
    probabilities of codes, and mixtures of ten logistic distributions of numbers. The log-density
    is a sum over the variables in an order of the component's own, each given those before it that
    are known. With a generator lent to its masks, for training, it is estimated without bias from
    one random set of variables per sample, half of these sets from the own order.

    Parameters
    ----------
    variables : sequence of Variable

    hidden_layer_sizes : sequence of int
        Widths of the hidden layers. Those behind the first add to what came before if the widths
        are equal.

    activation : {"relu", "tanh", "elu", "silu"}

    dropout : float

    order : int
        Number of the order; 0 is the order in which the variables stand.

    References
    ----------
    A Deep and Tractable Density Estimator. B. Uria, I. Murray, H. Larochelle, 2014.
    https://arxiv.org/abs/1310.1757

    Arbitrary Conditional Distributions with Energy. R. R. Strauss, J. B. Oliva, 2021.
    https://arxiv.org/abs/2102.04426
    """

    def __init__(
        self,
        variables: Sequence[Variable],
        hidden_layer_sizes: Sequence[int] = (128, 128),
        activation: str = "silu",
        dropout: float = 0.0,
        order: int = 0,
    ) -> None:
        super().__init__()
        check_parents(variables)
        self.variables, self.n_variables = tuple(variables), len(variables)
        self.order = _order(variables, order)
        self._ranks = [self.order.index(j) for j in range(self.n_variables)]
        self._numbers_at = [j for j, v in enumerate(variables) if v.is_number]
        self._codes_at = [j for j, v in enumerate(variables) if not v.is_number]
        self._number_of = {j: i for i, j in enumerate(self._numbers_at)}
        self.numbers = Numbers([v for v in variables if v.is_number])
        n_levels = [variables[j].n_levels for j in self._codes_at]
        # Numbers come first, then codes.
        places = [*self._numbers_at, *self._codes_at]
        self._inputs_of = _slices(places, [_N_INPUTS] * len(self.numbers) + n_levels)
        self._outputs_of = _slices(places, [3 * _N_LOGISTICS] * len(self.numbers) + n_levels)
        self.activation, self.masks = ACTIVATIONS[activation](), RandomMasks()
        self.dropout = Dropout(dropout)
        n_inputs, n_outputs = self._inputs_of[places[-1]].stop, self._outputs_of[places[-1]].stop
        sizes = [n_inputs, *hidden_layer_sizes, n_outputs]
        layers = [nn.Linear(a, b) for a, b in pairwise(sizes)]
        nn.init.zeros_(layers[-1].weight)
        nn.init.zeros_(layers[-1].bias)
        self.weights = nn.ParameterList(layer.weight for layer in layers)
        self.biases = nn.ParameterList(layer.bias for layer in layers)

    @torch.no_grad()
    def initialise(self, x: Tensor, weights: Tensor, context: Tensor | None = None) -> None:
        """Give each code its frequency where nothing is known."""
        for j, variable in enumerate(self.variables):
            if variable.is_number:
                continue
            shares = _one_hot(x[:, j], variable.n_levels) * weights.unsqueeze(-1)
            logits = (shares.sum(0) + _PSEUDO_COUNT).log()
            self.biases[-1][self._outputs_of[j]] = (logits - logits.mean()).to(self.biases[-1])

    def log_density(self, x: Tensor) -> Tensor:
        if self.masks.generator is not None:
            return self._estimate(x)
        return self._chain(x, torch.zeros_like(x, dtype=torch.bool))

    def conditional_log_density(self, x: Tensor, given: Tensor) -> Tensor:
        return self._chain(x, given.expand_as(x))

    @torch.no_grad()
    def complete(self, x: Tensor) -> Tensor:
        x = x.clone()
        hidden = self._start(x, torch.ones_like(x, dtype=torch.bool))
        for j in self.order:
            drawn = x[:, j].isnan()
            parent = self.variables[j].parent
            if parent >= 0:
                drawn &= x[:, parent] == 0
            if drawn.any():
                x[drawn, j] = self._draw(self._outputs(hidden[drawn], j), j)
                hidden[drawn] += self._contribution(x[drawn], j)
        return x

    def _chain(self, x: Tensor, given: Tensor) -> Tensor:
        """Sum over the variables that are not given, in the own order, of their log-densities."""
        known = ~x.isnan()
        hidden = self._start(x, given & known)
        total = x.new_zeros(x.shape[:-1])
        for j in self.order:
            scored = known[..., j] & ~given[..., j]
            if not scored.any():
                continue
            log_prob = self._log_prob(self._outputs(hidden, j), x, j)
            total = total + torch.where(scored, log_prob, 0.0)
            hidden = hidden + torch.where(scored.unsqueeze(-1), self._contribution(x, j), 0.0)
        return total

    def _estimate(self, x: Tensor) -> Tensor:
        """The log-density, from what a part of the variables says of all others."""
        known = ~x.isnan()
        given, n_known, n_given = self._drawn_parts(known)
        inputs = self._inputs(x, given)
        outputs = self._behind(inputs @ self.weights[0].mT + self._bias(0))
        scored = known & ~given
        total = torch.where(scored, self._log_probs(outputs, x), 0.0).sum(-1)
        return total * n_known / (n_known - n_given).clamp(min=1)

    def _drawn_parts(self, known: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Which variables are taken as given, with how many are known and how many given."""
        shape, n = known.shape[:-1], self.n_variables
        draws = self.masks.draw((*shape, n + 2), known)
        own = torch.tensor(self._ranks, dtype=draws.dtype, device=draws.device) / n
        keys = torch.where(draws[..., n, None] < _OWN_ORDER, own, draws[..., :n])
        # A value comes with the code that says whether there is one.
        at = [v.parent if v.parent >= 0 else j for j, v in enumerate(self.variables)]
        keys = torch.where(known, keys[..., at], 2.0)
        ranks = keys.argsort(dim=-1, stable=True).argsort(-1)
        n_known = known.sum(-1)
        n_given = (draws[..., n + 1] * n_known).long()
        return known & (ranks < n_given.unsqueeze(-1)), n_known, n_given

    def _start(self, x: Tensor, given: Tensor) -> Tensor:
        return self._inputs(x, given) @ self.weights[0].mT + self._bias(0)

    def _behind(self, hidden: Tensor, outputs: slice = slice(None)) -> Tensor:
        """Outputs of the network from what the first layer gives."""
        hidden = self.dropout(self.activation(hidden))
        for k in range(1, len(self.weights) - 1):
            image = hidden @ self.weights[k].mT + self._bias(k)
            image = self.dropout(self.activation(image))
            hidden = hidden + image if image.shape == hidden.shape else image
        weight, bias = self.weights[-1][..., outputs, :], self._bias(-1)[..., outputs]
        return hidden @ weight.mT + bias

    def _outputs(self, hidden: Tensor, j: int) -> Tensor:
        return self._behind(hidden, self._outputs_of[j])

    def _bias(self, k: int) -> Tensor:
        return self.biases[k].unsqueeze(-2)

    def _inputs(self, x: Tensor, given: Tensor) -> Tensor:
        """What the network sees of the variables that are given, zeros for others."""
        x = torch.where(given, x, torch.nan)
        numbers = self._seen_numbers(x[..., self._numbers_at], slice(None)).flatten(-2)
        codes = [_one_hot(x[..., j], self.variables[j].n_levels) for j in self._codes_at]
        return torch.cat([numbers, *codes], dim=-1)

    def _contribution(self, x: Tensor, j: int) -> Tensor:
        """What one variable adds to the first layer."""
        if self.variables[j].is_number:
            i = self._number_of[j]
            seen = self._seen_numbers(x[..., j : j + 1], slice(i, i + 1)).squeeze(-2)
        else:
            seen = _one_hot(x[..., j], self.variables[j].n_levels)
        return seen @ self.weights[0][..., self._inputs_of[j]].mT

    def _seen_numbers(self, u: Tensor, index: slice) -> Tensor:
        """Numbers as the network sees them, shape (..., n_numbers, n_inputs)."""
        known = ~u.isnan()
        u = u.nan_to_num(0.0)
        w = self.numbers.images(u, index).clamp(-_LARGEST_INPUT, _LARGEST_INPUT).unsqueeze(-1)
        knots = torch.tensor(_KNOTS, dtype=w.dtype, device=w.device)
        pieces = ((w - knots[:-1]) / (knots[1:] - knots[:-1])).clamp(0.0, 1.0)
        seen = torch.cat([w, pieces, torch.ones_like(w)], dim=-1)
        are_angles = self.numbers.are_angles[index]
        if are_angles.any():
            turns = u.unsqueeze(-1) * torch.arange(1, _N_HARMONICS + 1).to(u)
            waves = torch.cat([turns.cos(), turns.sin(), torch.ones_like(w)], dim=-1)
            waves = F.pad(waves, (0, _N_INPUTS - waves.shape[-1]))
            seen = torch.where(are_angles.unsqueeze(-1), waves, seen)
        return seen * known.unsqueeze(-1)

    def _log_probs(self, outputs: Tensor, x: Tensor) -> Tensor:
        """Log-density of each variable of each sample, shape (..., n_samples, n_variables)."""
        columns: list[Tensor] = [x.new_empty(0)] * self.n_variables
        at = self._numbers_at
        if at:
            places = self.numbers.places(x[..., at].nan_to_num(0.0))
            parameters = torch.stack([outputs[..., self._outputs_of[j]] for j in at], dim=-2)
            log_probs = self._mixed(parameters, places, slice(None))
            for i, j in enumerate(at):
                columns[j] = log_probs[..., i]
        for j, variable in enumerate(self.variables):
            if not variable.is_number:
                columns[j] = _log_frequency(outputs[..., self._outputs_of[j]], x[..., j])
        return torch.stack(columns, dim=-1)

    def _log_prob(self, outputs: Tensor, x: Tensor, j: int) -> Tensor:
        if not self.variables[j].is_number:
            return _log_frequency(outputs, x[..., j])
        i, at = self._number_of[j], self._numbers_at
        places = self.numbers.places(x[..., at].nan_to_num(0.0))[i]
        return self._mixed(outputs.unsqueeze(-2), places, slice(i, i + 1)).squeeze(-1)

    def _mixed(self, parameters: Tensor, places: Places, index: slice) -> Tensor:
        """Log-density under mixtures of logistic distributions with these parameters."""
        log_weights, means, log_scales = _logistics(parameters, self.numbers.are_angles[index])
        parts = logistic_log_prob(self.numbers, places, means, log_scales, index)
        return torch.logsumexp(parts + log_weights, dim=-1)

    def _draw(self, outputs: Tensor, j: int) -> Tensor:
        if not self.variables[j].is_number:
            return torch.multinomial(outputs.softmax(-1), 1).squeeze(-1).to(outputs)
        i = self._number_of[j]
        angles = self.numbers.are_angles[i : i + 1]
        parts = (part.squeeze(-2) for part in _logistics(outputs.unsqueeze(-2), angles))
        log_weights, means, log_scales = parts
        chosen = torch.multinomial(log_weights.exp(), 1)
        drawn = draw_logistic(means.gather(-1, chosen), log_scales.gather(-1, chosen))
        return self.numbers.values(drawn.squeeze(-1), i)


def _order(variables: Sequence[Variable], number: int) -> list[int]:
    """An order of the variables, each with a parent right behind it."""
    roots = [j for j, variable in enumerate(variables) if variable.parent < 0]
    if number:
        generator = torch.Generator().manual_seed(number)
        chosen = torch.randperm(len(roots), generator=generator, device="cpu").tolist()
        roots = [roots[place] for place in chosen]
    children = {variable.parent: j for j, variable in enumerate(variables) if variable.parent >= 0}
    return [j for root in roots for j in ([root, children[root]] if root in children else [root])]


def _slices(places: Sequence[int], sizes: Sequence[int]) -> dict[int, slice]:
    """Consecutive slices of these sizes, by variable."""
    ends = list(accumulate(sizes, initial=0))
    return {j: slice(*pair) for j, pair in zip(places, pairwise(ends), strict=True)}


def _one_hot(codes: Tensor, n_levels: int) -> Tensor:
    """A column for each code; zeros where it is not known."""
    levels = torch.arange(n_levels, dtype=codes.dtype, device=codes.device)
    return (codes.unsqueeze(-1) == levels).to(codes)


def _log_frequency(logits: Tensor, codes: Tensor) -> Tensor:
    """Log-probability of codes; -inf of one that is no level."""
    log_probs = logits.log_softmax(-1)
    code = codes.nan_to_num(0.0).long()
    found = log_probs.gather(-1, code.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    return torch.where(code < 0, -math.inf, found)


def _logistics(parameters: Tensor, are_angles: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Log-weights, means and log-scales of logistic distributions that a network gives."""
    logits, raw_means, raw_scales = parameters.unflatten(-1, (3, -1)).unbind(-2)
    like = {"dtype": parameters.dtype, "device": parameters.device}
    start = torch.linspace(-_SPREAD, _SPREAD, _N_LOGISTICS, **like)
    means = raw_means + start
    log_scales = raw_scales / (1 + raw_scales.abs() / _LOG_SCALE_BOUND) + _LOG_SCALE
    if are_angles.any():
        angle = are_angles.unsqueeze(-1)
        means = torch.where(angle, raw_means + start * (math.pi / _SPREAD), means)
        log_scales = torch.where(angle, log_scales.clamp(max=LARGEST_ANGLE_LOG_SCALE), log_scales)
    return logits.log_softmax(-1), means, log_scales
