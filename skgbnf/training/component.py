"""One component fitted, by EM or by gradient."""

from dataclasses import replace
from functools import partial

from zuko.lazy import LazyDistribution

from skgbnf.flows import FittedByEM, StackedFlow, StackedNetwork
from skgbnf.training.descent import Descent
from skgbnf.training.em import fit_by_em
from skgbnf.training.gradient import ComponentTarget
from skgbnf.training.objective import Objective, TrainingSettings


def fit_component(
    component: LazyDistribution, objective: Objective, settings: TrainingSettings, seed: int
) -> int:
    """Train a component in place and leave it in its best state.

    Parameters
    ----------
    component : zuko.lazy.LazyDistribution
        A :class:`~skgbnf.flows.FittedByEM` is fitted from several starts, whatever its state, or
        in one step where that is exact; others by gradient from the state that they are in.

    objective : Objective

    settings : TrainingSettings

    seed : int
        Governs the order of the samples and, for EM, the starts.

    Returns
    -------
    n_iter : int
        Number of epochs, or of EM iterations; 0 of a component without parameters.
    """
    if isinstance(component, FittedByEM):
        return fit_by_em(component, objective, settings, seed)
    descent = new_descent(component, objective, settings, seed)
    descent.run()
    return descent.finish()


def new_descent(
    component: LazyDistribution, objective: Objective, settings: TrainingSettings, seed: int
) -> Descent:
    """The training of a component by gradient, yet to run, in place.

    Parameters
    ----------
    component, objective, settings, seed
        As for :func:`fit_component`.
    """
    if not list(component.parameters()):
        settings = replace(settings, max_iter=0)
    if isinstance(component, StackedFlow | StackedNetwork):
        settings = replace(settings, optimiser=partial(settings.optimiser, stacked=True))
    # A component rebuilt from arrays is to go on as if it had never been arrays.
    component.train()
    return Descent(ComponentTarget(component, objective, settings), settings, seed)
