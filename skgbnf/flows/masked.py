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
_WITH_GAPS = 0.15
_PSEUDO_COUNT = 0.5


class Draws(Dropout):
    """Source of what a training step draws: there is one while there is a generator."""

    def __init__(self) -> None:
        super().__init__(0.0)

    def uniform(self, *shape: int) -> Tensor:
        """Uniform numbers."""
        return torch.rand(shape, generator=self.generator, dtype=torch.float32, device="cpu")


class MaskedNetwork(KnowsParts, DataInitialised, Stackable):
    r"""Autoregressive density in one order of the variables, or in all of them.

    The network gives the distribution of each variable from those before it in an order that masks
    of its weights stand for: probabilities of codes, and mixtures of ten logistic distributions of
    numbers. The log-density follows the component's own order. In training some samples lose
    variables at random, so that the network learns densities of parts too.

    Parameters
    ----------
    variables : sequence of Variable

    hidden_layer_sizes : sequence of int
        Widths of the hidden layers. Those behind the first add to what came before if the widths
        are equal.

    activation : {"relu", "tanh", "elu", "silu"}

    dropout : float

    order : int
        Number of the own order; 0 is the order in which the variables stand.

    any_order : bool, default=False
        Whether each batch of training takes the variables in an order drawn anew, from which the
        network learns all conditionals and the own order less well.

    References
    ----------
    MADE: Masked Autoencoder for Distribution Estimation. M. Germain, K. Gregor, I. Murray,
    H. Larochelle, 2015. https://arxiv.org/abs/1502.03509
    """

    def __init__(
        self,
        variables: Sequence[Variable],
        hidden_layer_sizes: Sequence[int] = (128, 128),
        activation: str = "silu",
        dropout: float = 0.0,
        order: int = 0,
        *,
        any_order: bool = False,
    ) -> None:
        super().__init__()
        check_parents(variables)
        self.variables, self.n_variables = tuple(variables), len(variables)
        self.order, self.any_order = _order(variables, order), any_order
        self._numbers_at = [j for j, v in enumerate(variables) if v.is_number]
        self._codes_at = [j for j, v in enumerate(variables) if not v.is_number]
        self._number_of = {j: i for i, j in enumerate(self._numbers_at)}
        self.numbers = Numbers([v for v in variables if v.is_number])
        n_levels = [variables[j].n_levels for j in self._codes_at]
        # Numbers come first, then codes.
        places = [*self._numbers_at, *self._codes_at]
        input_sizes = [_N_INPUTS] * len(self.numbers) + n_levels
        output_sizes = [3 * _N_LOGISTICS] * len(self.numbers) + n_levels
        self._inputs_of = _slices(places, input_sizes)
        self._outputs_of = _slices(places, output_sizes)
        self._register_places(places, input_sizes, output_sizes, hidden_layer_sizes)
        self.activation, self.draws = ACTIVATIONS[activation](), Draws()
        self.dropout = Dropout(dropout)
        sizes = [sum(input_sizes), *hidden_layer_sizes, sum(output_sizes)]
        layers = [nn.Linear(a, b) for a, b in pairwise(sizes)]
        nn.init.zeros_(layers[-1].weight)
        nn.init.zeros_(layers[-1].bias)
        self.weights = nn.ParameterList(layer.weight for layer in layers)
        self.biases = nn.ParameterList(layer.bias for layer in layers)

    def _register_places(
        self,
        places: Sequence[int],
        input_sizes: Sequence[int],
        output_sizes: Sequence[int],
        hidden_layer_sizes: Sequence[int],
    ) -> None:
        """Say which variable each input and output belongs to, and what each hidden unit sees.

        A unit of degree m sees the first m variables of an order.
        """
        variables = torch.tensor(places)
        inputs = variables.repeat_interleave(torch.tensor(input_sizes))
        outputs = variables.repeat_interleave(torch.tensor(output_sizes))
        self.register_buffer("input_variables", inputs, persistent=False)
        self.register_buffer("output_variables", outputs, persistent=False)
        for k, width in enumerate(hidden_layer_sizes):
            degrees = torch.arange(width) * max(self.n_variables - 1, 1) // width + 1
            self.register_buffer(f"degrees_{k}", degrees, persistent=False)

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
        order = self.order
        if self.draws.generator is not None:
            x = self._with_gaps(x)
            order = self._random_order() if self.any_order else order
        return self._log_probs(x, order).sum(-1)

    def conditional_log_density(self, x: Tensor, given: Tensor) -> Tensor:
        given = given.expand_as(x) & ~x.isnan()
        free = ~given.any(-1)
        total = x.new_empty(len(x))
        total[free] = self._log_probs(x[free], self.order).sum(-1)
        total[~free] = self._chain(x[~free], given[~free])
        return total

    @torch.no_grad()
    def complete(self, x: Tensor, wanted: Tensor) -> Tensor:
        x, gaps = x.clone(), wanted & x.isnan()
        free = x.isnan().all(-1)
        for j in self.order:
            drawn = gaps[:, j] & self._there(x, j)
            # Where nothing was known, so that draws have the density of the own order.
            for rows, order in ((drawn & free, self.order), (drawn & ~free, self._with_last(j))):
                if rows.any():
                    x[rows, j] = self._drawn(x[rows], order, j)
        return x

    @torch.no_grad()
    def propose(self, x: Tensor, wanted: Tensor) -> Tensor:
        """By what stands before each variable in the own order, which the network knows best."""
        if self.any_order:
            return self.complete(x, wanted)
        x, gaps = x.clone(), wanted & x.isnan()
        for j in self.order:
            drawn = gaps[:, j] & self._there(x, j)
            if drawn.any():
                x[drawn, j] = self._drawn(x[drawn], self.order, j)
        return x

    def proposal_log_density(self, x: Tensor, wanted: Tensor) -> Tensor:
        if self.any_order:
            return self.conditional_log_density(x, ~wanted)
        return torch.where(wanted, self._log_probs(x, self.order), 0.0).sum(-1)

    def _there(self, x: Tensor, j: int) -> Tensor:
        """Whether a variable has a value, which the code of its parent tells."""
        parent = self.variables[j].parent
        if parent < 0:
            return torch.ones_like(x[:, j], dtype=torch.bool)
        return x[:, parent] < self.variables[j].n_open

    def _drawn(self, x: Tensor, order: list[int], j: int) -> Tensor:
        """Draws of one variable, given those before it in an order."""
        parent = self.variables[j].parent
        outputs = self._outputs(x, order, self._outputs_of[j])
        return self._draw(outputs, j, x[:, parent] if parent >= 0 else None)

    def _chain(self, x: Tensor, given: Tensor) -> Tensor:
        """Sum over the variables that are not given of log-densities given those and the former.

        Each variable counts as the last one, after all that are given.
        """
        total = x.new_zeros(len(x))
        seen = torch.where(given, x, torch.nan)
        for j in self.order:
            scored = ~given[:, j] & ~x[:, j].isnan()
            if scored.any():
                seen[scored, j] = x[scored, j]
                total[scored] += self._last_log_prob(seen[scored], j)
        return total

    def _with_last(self, j: int) -> list[int]:
        return [*(k for k in self.order if k != j), j]

    def _random_order(self) -> list[int]:
        roots = [j for j, variable in enumerate(self.variables) if variable.parent < 0]
        chosen = self.draws.uniform(len(roots)).argsort().tolist()
        return _with_children(self.variables, [roots[place] for place in chosen])

    def _with_gaps(self, x: Tensor) -> Tensor:
        """Samples of which some lose variables: of those, a uniform share of all on average."""
        draws = self.draws.uniform(*x.shape[:-1], self.n_variables + 2).to(x.device)
        n = self.n_variables
        # A value goes with the code that says whether there is one.
        at = [v.parent if v.parent >= 0 else j for j, v in enumerate(self.variables)]
        lost = draws[..., :n][..., at] < draws[..., n, None]
        return torch.where(lost & (draws[..., n + 1, None] < _WITH_GAPS), torch.nan, x)

    def _outputs(self, x: Tensor, order: list[int], last: slice = slice(None)) -> Tensor:
        """Outputs of the network, those of each variable from the ones before it in an order.

        Parameters
        ----------
        x : Tensor of shape (..., n_samples, n_variables)

        order : list of int

        last : slice
            Which of the outputs are wanted.
        """
        ranks = torch.empty(self.n_variables, dtype=torch.long, device=x.device)
        ranks[order] = torch.arange(self.n_variables, device=x.device)
        degrees = [getattr(self, f"degrees_{k}") for k in range(len(self.weights) - 1)]
        # What follows a variable of rank r in the order may see the first r + 1.
        before = [ranks[self.input_variables] + 1, *degrees]
        behind = [*degrees, ranks[self.output_variables[last]]]
        hidden, n_hidden = self._inputs(x), len(degrees)
        for k in range(n_hidden):
            mask = before[k] <= behind[k].unsqueeze(-1)
            image = hidden @ (self.weights[k] * mask).mT + self.biases[k].unsqueeze(-2)
            image = self.dropout(self.activation(image))
            hidden = hidden + image if k and image.shape == hidden.shape else image
        mask = before[-1] <= behind[-1].unsqueeze(-1)
        weight, bias = self.weights[-1][..., last, :], self.biases[-1][..., last]
        return hidden @ (weight * mask).mT + bias.unsqueeze(-2)

    def _inputs(self, x: Tensor) -> Tensor:
        """What the network sees of the variables, zeros for those that are not known."""
        numbers = self._seen_numbers(x[..., self._numbers_at]).flatten(-2)
        codes = [_one_hot(x[..., j], self.variables[j].n_levels) for j in self._codes_at]
        return torch.cat([numbers, *codes], dim=-1)

    def _seen_numbers(self, u: Tensor) -> Tensor:
        """Numbers as the network sees them, shape (..., n_numbers, n_inputs)."""
        known = ~u.isnan()
        u = u.nan_to_num(0.0)
        w = self.numbers.images(u).clamp(-_LARGEST_INPUT, _LARGEST_INPUT).unsqueeze(-1)
        knots = torch.tensor(_KNOTS, dtype=w.dtype, device=w.device)
        pieces = ((w - knots[:-1]) / (knots[1:] - knots[:-1])).clamp(0.0, 1.0)
        seen = torch.cat([w, pieces, torch.ones_like(w)], dim=-1)
        are_angles = self.numbers.are_angles
        if are_angles.any():
            turns = u.unsqueeze(-1) * torch.arange(1, _N_HARMONICS + 1).to(u)
            waves = torch.cat([turns.cos(), turns.sin(), torch.ones_like(w)], dim=-1)
            waves = F.pad(waves, (0, _N_INPUTS - waves.shape[-1]))
            seen = torch.where(are_angles.unsqueeze(-1), waves, seen)
        return seen * known.unsqueeze(-1)

    def _log_probs(self, x: Tensor, order: list[int]) -> Tensor:
        """Log-density of each variable given those before it, zero where it is not known."""
        outputs = self._outputs(x, order)
        columns: list[Tensor] = [x.new_empty(0)] * self.n_variables
        at = self._numbers_at
        if at:
            places = self.numbers.places(x[..., at].nan_to_num(0.0))
            n_outputs = 3 * _N_LOGISTICS
            parameters = outputs[..., : n_outputs * len(at)].unflatten(-1, (len(at), n_outputs))
            log_probs = self._mixed(parameters, places)
            for i, j in enumerate(at):
                columns[j] = log_probs[..., i]
        for j in self._codes_at:
            columns[j] = _log_frequency(outputs[..., self._outputs_of[j]], x[..., j])
        return torch.where(x.isnan(), 0.0, torch.stack(columns, dim=-1))

    def _last_log_prob(self, x: Tensor, j: int) -> Tensor:
        """Log-density of one variable given all others that are known."""
        outputs = self._outputs(x, self._with_last(j), self._outputs_of[j])
        if not self.variables[j].is_number:
            return _log_frequency(outputs, x[..., j])
        own = slice(self._number_of[j], self._number_of[j] + 1)
        places = self.numbers.places(x[..., j : j + 1].nan_to_num(0.0), own)
        return self._mixed(outputs.unsqueeze(-2), places, own).squeeze(-1)

    def _mixed(self, parameters: Tensor, places: Places, index: slice = slice(None)) -> Tensor:
        """Log-density of numbers under mixtures of logistic distributions."""
        log_weights, means, log_scales = _logistics(parameters, self.numbers.are_angles[index])
        parts = logistic_log_prob(self.numbers, places, means, log_scales, index)
        return torch.logsumexp(parts + log_weights, dim=-1)

    def _draw(self, outputs: Tensor, j: int, codes: Tensor | None) -> Tensor:
        if not self.variables[j].is_number:
            return torch.multinomial(outputs.softmax(-1), 1).squeeze(-1).to(outputs)
        i = self._number_of[j]
        angles = self.numbers.are_angles[i : i + 1]
        parts = (part.squeeze(-2) for part in _logistics(outputs.unsqueeze(-2), angles))
        log_weights, means, log_scales = parts
        chosen = torch.multinomial(log_weights.exp(), 1)
        drawn = draw_logistic(means.gather(-1, chosen), log_scales.gather(-1, chosen))
        return self.numbers.values(drawn.squeeze(-1), i, codes)


def _order(variables: Sequence[Variable], number: int) -> list[int]:
    """An order of the variables, each with a parent right behind it."""
    roots = [j for j, variable in enumerate(variables) if variable.parent < 0]
    if number:
        generator = torch.Generator().manual_seed(number)
        chosen = torch.randperm(len(roots), generator=generator, device="cpu").tolist()
        roots = [roots[place] for place in chosen]
    return _with_children(variables, roots)


def _with_children(variables: Sequence[Variable], roots: Sequence[int]) -> list[int]:
    """An order in which each variable with a parent stands right behind that."""
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
    start = torch.linspace(-_SPREAD, _SPREAD, _N_LOGISTICS, device="cpu").to(parameters)
    means = raw_means + start
    log_scales = raw_scales / (1 + raw_scales.abs() / _LOG_SCALE_BOUND) + _LOG_SCALE
    if are_angles.any():
        angle = are_angles.unsqueeze(-1)
        means = torch.where(angle, raw_means + start * (math.pi / _SPREAD), means)
        log_scales = torch.where(angle, log_scales.clamp(max=LARGEST_ANGLE_LOG_SCALE), log_scales)
    return logits.log_softmax(-1), means, log_scales
