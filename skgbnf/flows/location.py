"""A mixture for mixed tables whose marginals and conditionals have closed forms."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from skgbnf.flows.clustering import clusters
from skgbnf.flows.em import FittedByEM
from skgbnf.flows.incomplete import posteriors
from skgbnf.flows.numbers import (
    LARGEST_ANGLE_LOG_SCALE,
    Numbers,
    draw_logistic,
    logistic_log_prob,
)
from skgbnf.flows.parts import KnowsParts
from skgbnf.flows.variables import Variable, check_parents

_FINE = 0.1
_FLOOR = 0.85
"""Variance in squared steps, from which a Gaussian on a grid sums to 1 by seven digits."""

_PRIOR_SAMPLES = 2.0
_PRIOR_SHARE = 0.1
_PRIOR_COUNT = 1.0
_PSEUDO_COUNT = 0.5
_LOGISTIC = math.sqrt(3) / math.pi
"""Scale of a logistic distribution of variance one."""

_SMALLEST_SHARE = 1e-12
_SMALLEST_ANGLE_LOG_SCALE = math.log(0.02)


class LocationMixture(KnowsParts, FittedByEM):
    r"""Mixture of products: Gaussian of numbers, times frequencies of codes.

    Within one class of the mixture all continuous variables have one Gaussian, behind the map of
    each onto the line, and so have open grids of small steps. Other grids and angles have logistic
    distributions, codes have frequencies, all independent of each other. Gaps count as missing at
    random [1]_. With one class it is the location model [2]_ without its interactions.

    Parameters
    ----------
    variables : sequence of Variable

    n_components : int
        Number of classes.

    References
    ----------
    .. [1] Supervised learning from incomplete data via an EM approach. Z. Ghahramani,
       M. I. Jordan, 1994. https://proceedings.neurips.cc/paper/1993/hash/f2201f5191c4e92cc5af043eebfd0946-Abstract.html
    .. [2] Multivariate Correlation Models with Mixed Discrete and Continuous Variables. I. Olkin,
       R. F. Tate, 1961. https://doi.org/10.1214/aoms/1177705052
    """

    def __init__(self, variables: Sequence[Variable], n_components: int = 1) -> None:
        super().__init__()
        check_parents(variables)
        self.variables, self.n_variables = tuple(variables), len(variables)
        self.n_classes = n_components
        self._joint = [j for j, v in enumerate(variables) if _is_joint(v)]
        self._single = [j for j, v in enumerate(variables) if v.is_number and not _is_joint(v)]
        self._codes = [j for j, v in enumerate(variables) if not v.is_number]
        self.joint = Numbers([variables[j] for j in self._joint])
        self.single = Numbers([variables[j] for j in self._single])
        n_joint, k = len(self._joint), n_components
        self.logits = nn.Parameter(torch.zeros(k))
        self.means = nn.Parameter(torch.zeros(k, n_joint))
        self.covariances = nn.Parameter(torch.eye(n_joint).expand(k, -1, -1).clone())
        self.single_means = nn.Parameter(torch.zeros(len(self._single), k))
        self.single_log_scales = nn.Parameter(torch.zeros(len(self._single), k))
        self.tables = nn.ParameterList(torch.zeros(k, variables[j].n_levels) for j in self._codes)

    any_order = True

    @property
    def n_em_starts(self) -> int:
        return 1 if self.n_classes == 1 else 2

    @property
    def n_plain_starts(self) -> int:
        return self.n_em_starts

    def log_density(self, x: Tensor) -> Tensor:
        return self._log_joint(x).logsumexp(-1)

    def conditional_log_density(self, x: Tensor, given: Tensor) -> Tensor:
        return self.log_density(x) - self.log_density(torch.where(given, x, torch.nan))

    @torch.no_grad()
    def complete(self, x: Tensor, wanted: Tensor) -> Tensor:
        given, x = x, x.clone()
        chosen = torch.multinomial(self._log_joint(x).softmax(-1), 1).squeeze(-1)
        for j, table in zip(self._codes, self.tables, strict=True):
            gap = x[:, j].isnan()
            if gap.any():
                x[gap, j] = torch.multinomial(table.exp()[chosen[gap]], 1).squeeze(-1).to(x)
        self._complete_joint(x, chosen)
        for i, j in enumerate(self._single):
            gap = x[:, j].isnan()
            means, log_scales = (
                part[i, chosen[gap]] for part in (self.single_means, self.single_log_scales)
            )
            drawn = draw_logistic(means, log_scales)
            x[gap, j] = self.single.values(drawn, i, self._parents(x[gap], j))
        for j, variable in enumerate(self.variables):
            if variable.parent >= 0:
                there = x[:, variable.parent] < variable.n_open
                x[:, j] = torch.where(there, x[:, j], torch.nan)
        return torch.where(wanted, x, given)

    @torch.no_grad()
    def em_seed(self, x: Tensor, weights: Tensor, n_neighbours: int, start: int = 0) -> None:
        """Start from clusters of samples, gaps in the middle and codes as columns."""
        images = [self.joint.images(x[:, self._joint]), self.single.images(x[:, self._single])]
        parts = [part.clamp(-4.0, 4.0).nan_to_num(0.0) for part in images]
        for j in self._codes:
            levels = torch.arange(self.variables[j].n_levels).to(x)
            parts.append((x[:, j, None] == levels).to(x))
        places = torch.cat(parts, dim=-1)
        # Not so hard that a class of few samples begins with a spike.
        soft = 0.9 * clusters(places, weights, self.n_classes) + 0.1 / self.n_classes
        self.covariances.copy_(torch.eye(len(self._joint)).to(x).expand_as(self.covariances))
        self.means.zero_()
        self._maximise(x, weights, soft)

    @torch.no_grad()
    def em_step(self, x: Tensor, weights: Tensor) -> None:
        """One iteration of EM on the weighted samples."""
        self._maximise(x, weights, self._log_joint(x).softmax(-1))

    def _log_joint(self, x: Tensor) -> Tensor:
        """Log-density of each sample with each class, shape (n_samples, n_classes)."""
        total = self.logits.log_softmax(-1).expand(len(x), -1)
        if self._joint:
            u = x[:, self._joint]
            log_probs = torch.zeros_like(total)
            for part in posteriors(self.joint.images(u), self.means, self.covariances):
                log_probs[part.index] = part.log_prob
            total = total + log_probs + self.joint.log_widths(u).nan_to_num(0.0).sum(-1)[:, None]
        if self._single:
            u = x[:, self._single]
            places = self.single.places(u.nan_to_num(0.0))
            own = self.single_means, self.single_log_scales
            single = logistic_log_prob(self.single, places, *own)
            total = total + torch.where(u.isnan().unsqueeze(-1), 0.0, single).sum(-2)
        for j, table in zip(self._codes, self.tables, strict=True):
            code = x[:, j].nan_to_num(0.0).long()
            log_prob = torch.where(code[:, None] < 0, -math.inf, table.T[code.clamp(min=0)])
            total = total + torch.where(x[:, j, None].isnan(), 0.0, log_prob)
        return total

    def _maximise(self, x: Tensor, weights: Tensor, responsibilities: Tensor) -> None:
        shares = weights.unsqueeze(-1) * responsibilities
        self.logits.copy_(shares.sum(0).clamp(min=_SMALLEST_SHARE).log())
        if self._joint:
            self._fit_gaussians(self.joint.images(x[:, self._joint]), shares)
        if self._single:
            self._fit_singles(x[:, self._single], shares)
        for j, table in zip(self._codes, self.tables, strict=True):
            table.copy_(_log_frequencies(x[:, j], shares, table.shape[1]))

    def _fit_gaussians(self, w: Tensor, shares: Tensor) -> None:
        """Means and covariances, with what is not known replaced by what the Gaussians expect."""
        n_classes, d = self.means.shape
        first, second = w.new_zeros(n_classes, d), w.new_zeros(n_classes, d, d)
        total = shares.sum(0)
        for part in posteriors(w, self.means, self.covariances):
            own = shares[part.index]
            first += torch.einsum("nk,nkd->kd", own, part.means)
            second += torch.einsum("nk,nkd,nke->kde", own, part.means, part.means)
            masses = own.new_zeros(len(part.covariances), n_classes).index_add_(
                0, part.pattern, own
            )
            second += torch.einsum("pk,pkde->kde", masses, part.covariances)
        enough = total > _SMALLEST_SHARE
        counts = total.clamp(min=_SMALLEST_SHARE)[:, None]
        means = first / counts
        scatter = second - counts[..., None] * means[:, :, None] * means[:, None, :]
        pooled = _pooled_variances(first, second, total)
        prior = _PRIOR_SAMPLES * _PRIOR_SHARE * pooled.clamp(min=1e-6).diag()
        floor = (_FLOOR * self.joint.image_steps().square()).diag()
        fitted = (scatter + prior) / (counts[..., None] + _PRIOR_SAMPLES) + floor
        self.means.copy_(torch.where(enough[:, None], means, self.means))
        self.covariances.copy_(torch.where(enough[:, None, None], fitted, self.covariances))

    def _fit_singles(self, u: Tensor, shares: Tensor) -> None:
        """Locations and scales of numbers that depend on the class alone, by their moments."""
        known = ~u.isnan()
        images = self.single.images(u.nan_to_num(0.0))
        for i in range(len(self.single)):
            own = shares * known[:, i, None]
            total = own.sum(0) + _SMALLEST_SHARE
            if i in self.single.angles:
                mean, log_scale = _angle_moments(u[:, i].nan_to_num(0.0), own, total)
            else:
                w = images[:, i]
                mean = (own * w[:, None]).sum(0) / total
                variance = (own * (w[:, None] - mean).square()).sum(0)
                variance = (variance + _PRIOR_SHARE) / (total + 1.0)
                log_scale = (_LOGISTIC * variance.sqrt()).log()
            self.single_means[i], self.single_log_scales[i] = mean, log_scale

    def _parents(self, x: Tensor, j: int) -> Tensor | None:
        """Codes of the parent of a variable, if it has one."""
        parent = self.variables[j].parent
        return x[:, parent].nan_to_num(0.0) if parent >= 0 else None

    def _complete_joint(self, x: Tensor, chosen: Tensor) -> None:
        """Draw what the Gaussians of the chosen classes leave open."""
        if not self._joint:
            return
        u = x[:, self._joint]
        gaps = u.isnan()
        drawn = u.clone()
        for part in posteriors(self.joint.images(u), self.means, self.covariances):
            own = chosen[part.index]
            means = part.means[torch.arange(len(own)), own]
            factors = _factors(part.covariances)[part.pattern, own]
            noise = torch.randn_like(means)
            drawn[part.index] = means + (factors @ noise.unsqueeze(-1)).squeeze(-1)
        for i, j in enumerate(self._joint):
            values = self.joint.values(drawn[:, i], i, self._parents(x, j))
            x[:, j] = torch.where(gaps[:, i], values, x[:, j])


def _is_joint(variable: Variable) -> bool:
    """Whether a variable is among those of the Gaussians."""
    if variable.kind != "grid":
        return variable.kind == "continuous"
    is_open = variable.lowest is None and variable.highest is None
    return is_open and variable.step <= _FINE * variable.spread


def _log_frequencies(codes: Tensor, shares: Tensor, n_levels: int) -> Tensor:
    """Logarithms of the frequencies of codes in each class, drawn towards those of all samples."""
    levels = torch.arange(n_levels, dtype=codes.dtype, device=codes.device)
    counts = shares.mT @ (codes.unsqueeze(-1) == levels).to(shares)
    overall = counts.sum(0) + _PSEUDO_COUNT
    counts = counts + _PRIOR_COUNT * overall / overall.sum()
    return (counts / counts.sum(-1, keepdim=True)).log()


def _pooled_variances(first: Tensor, second: Tensor, total: Tensor) -> Tensor:
    """Variance of each variable over all classes."""
    mean = first.sum(0) / total.sum()
    return second.diagonal(dim1=-2, dim2=-1).sum(0) / total.sum() - mean.square()


def _angle_moments(angles: Tensor, shares: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
    """Mean directions, and scales of logistic distributions by the length of the mean vector."""
    cosine = (shares * angles.cos()[:, None]).sum(0) / (total + 1.0)
    sine = (shares * angles.sin()[:, None]).sum(0) / (total + 1.0)
    length = torch.hypot(cosine, sine).clamp(1e-6, 1 - 1e-6)
    log_scale = (_LOGISTIC * (-2 * length.log()).sqrt()).log()
    log_scale = log_scale.clamp(_SMALLEST_ANGLE_LOG_SCALE, LARGEST_ANGLE_LOG_SCALE)
    return torch.atan2(sine, cosine), log_scale


def _factors(covariances: Tensor) -> Tensor:
    """Square roots of covariances, which may be singular."""
    values, vectors = torch.linalg.eigh(covariances)
    return vectors * values.clamp(min=0.0).sqrt().unsqueeze(-2)
