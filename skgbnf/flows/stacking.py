"""Components of one architecture, stacked."""
import copy
import torch
from torch import nn, Tensor
from zuko.lazy import LazyDistribution
from skgbnf.flows.em import FittedByEM
from skgbnf.flows.gaussian import GaussianMixture
from skgbnf.flows.student_t import StudentT

class _Joint:
    def __init__(self, parts): self.parts = parts
    def log_prob(self, x): return torch.stack([p(None).log_prob(rows) for p, rows in zip(self.parts, x, strict=True)])

class Stacked(LazyDistribution):
    def __init__(self, components):
        super().__init__()
        self.parts = nn.ModuleList(components)
    def forward(self, c=None): return _Joint(self.parts)

class StackedByEM(FittedByEM, Stacked):
    @property
    def n_em_starts(self): return self.parts[0].n_em_starts
    @property
    def n_plain_starts(self): return self.parts[0].n_plain_starts
    @property
    def em_step_is_exact(self): return self.parts[0].em_step_is_exact
    def em_seed(self, x, weights, n_neighbours, start=0):
        for p, rows, w in zip(self.parts, x, weights, strict=True): p.em_seed(rows, w, n_neighbours, start)
    def em_step(self, x, weights):
        for p, rows, w in zip(self.parts, x, weights, strict=True):
            if w.sum() > 0: p.em_step(rows, w)

def stack(components):
    if isinstance(components[0], (GaussianMixture, StudentT)):
        one = copy.deepcopy(components[0])
        for (name, p), *others in zip(one.named_parameters(), *[c.parameters() for c in components]):
            p.data = torch.stack([o.data for o in others])
        return one
    return (StackedByEM if isinstance(components[0], FittedByEM) else Stacked)(components)
def unstack(stacked):
    if isinstance(stacked, (GaussianMixture, StudentT)):
        out=[]
        for k in range(5):
            one = copy.deepcopy(stacked)
            for p, o in zip(one.parameters(), stacked.parameters()): p.data=o.data[k].clone()
            out.append(one)
        return out
    return list(stacked.parts)
