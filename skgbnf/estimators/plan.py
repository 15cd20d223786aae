"""What a fit is to do: checked parameters with every "auto" resolved."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from skgbnf._checks import check_hidden_layer_sizes
from skgbnf._device import fit_device
from skgbnf.boosting.additive import AdditiveBoosting
from skgbnf.boosting.base import Limits
from skgbnf.boosting.candidates import CandidatePlan, View
from skgbnf.boosting.geometric import GeometricBoosting
from skgbnf.boosting.likelihood import LikelihoodBoosting
from skgbnf.estimators.parameters import check_density_parameters, combine_of
from skgbnf.flows import Architecture, CopulaBase, Variable, families, get_family
from skgbnf.training.objective import TrainingSettings
from skgbnf.training.progress import Progress
from skgbnf.training.rows import Rows

_FEW_ROWS = 2000
_FEWEST_ROWS_OF_FOLDS = 10
_VERY_FEW_ROWS = 200
_N_FOLDS = 5
_N_FOLDS_FOR_VERY_FEW_ROWS = 10
_FAMILIES = ("made_mixture",)
_FAMILIES_FOR_FEW_ROWS = ("gaussian_mixture", "copula_mixture")
_FAMILIES_OF_CONTEXT = ("nsf", "gaussian_mixture")
_FIRST_FAMILIES = ("student_t", "gaussian_mixture")
_FIRST_FAMILY_FOR_FEW_ROWS = "copula_mixture"
_FAMILIES_OF_MIXED_TABLES = ("autoregressive",)
_FIRST_FAMILIES_OF_MIXED_TABLES = ("location_mixture", "masked")
_FAMILY_OF_SPARSE_TABLES = "graphical"
_BATCH_SIZE = 256
_MIN_BATCH_SIZE = 32
_MIN_BATCHES = 16
_FEW_ROWS_PER_COLUMN = 50
_DROPOUT_FOR_FEW_ROWS = 0.1
_STEPS = 8000
_PATIENCE_WITH_FOLDS = 4
"""Epochs; the networks of folds overfit after ten of them, and what they gain later is little."""
_MIN_EPOCHS = 30
_MAX_EPOCHS = 200
_MOST_ITER = 10**12


@dataclass(frozen=True, eq=False)
class TableOptions:
    """What the parameters say of the table, whatever is trained on it.

    Attributes
    ----------
    columns, bounds, dequantize, base, max_time, validation_fraction
        As given to the estimator.

    n_folds : int, "auto" or None
        None for what can only be judged by one validation set, or by none.

    device : torch.device
        On which flows are trained.
    """

    columns: Any
    bounds: Any
    dequantize: Any
    base: str | CopulaBase
    max_time: float | None
    validation_fraction: float | None
    n_folds: int | str | None
    device: torch.device


@dataclass(frozen=True, eq=False)
class DensityPlan:
    """What a fit is to do, with every "auto" resolved.

    Attributes
    ----------
    combine : {"sum", "product"}

    objective : {"tempered", "greedy", "weighted"}

    candidates : CandidatePlan

    settings : TrainingSettings

    limits : Limits
    """

    combine: str
    objective: str
    candidates: CandidatePlan
    settings: TrainingSettings
    limits: Limits

    def start(self, train: Rows, validation: Rows, seed: int) -> LikelihoodBoosting:
        """A boosting without rounds."""
        what = train, validation, self.candidates, self.settings, seed
        if self.combine == "product":
            return GeometricBoosting(*what)
        return AdditiveBoosting(*what, self.objective)


def table_options(estimator: Any) -> TableOptions:
    """The parameters that concern the table."""
    return TableOptions(
        columns=getattr(estimator, "columns", None),
        bounds=estimator.bounds,
        dequantize=estimator.dequantize,
        base=estimator.base,
        max_time=estimator.max_time,
        validation_fraction=estimator.validation_fraction,
        n_folds=_n_folds(estimator),
        device=fit_device(estimator.device),
    )


def resolve(
    estimator: Any,
    train: Rows,
    progress: Progress,
    start: float,
    n_columns: int = 0,
    variables: tuple[Variable, ...] = (),
) -> DensityPlan:
    """Turn the checked parameters of a density into what is to be done.

    Parameters
    ----------
    estimator : GradientBoostedFlowDensity or GradientBoostedFlowRegressor

    train : Rows
        Training samples.

    progress : Progress
        Told of each part and epoch.

    start : float
        Reading of ``time.perf_counter()`` when the fit began.

    n_columns : int, default=0
        Number of the first columns of the context, which are features.

    variables : tuple of Variable, default=()
        Those of a mixed table.

    Raises
    ------
    ValueError
        If a parameter does not suit a mixed table.
    """
    n_samples, n_features = train.x.shape[-2:]
    n_context = 0 if train.context is None else train.context.shape[-1]
    return DensityPlan(
        combine=combine_of(estimator),
        objective=estimator.objective,
        candidates=_candidates(estimator, n_samples, n_features, n_context, n_columns, variables),
        settings=_settings(estimator, train, progress),
        limits=Limits.of(estimator.get_params(deep=False), start),
    )


def _n_folds(estimator: Any) -> int | str | None:
    """The parameter; "auto" without a validation set, or of a product, is None."""
    n_folds = estimator.n_folds
    judged = combine_of(estimator) == "sum" and estimator.validation_fraction
    return None if isinstance(n_folds, str) and not judged else n_folds


def expected_folds(estimator: Any, n_samples: int) -> int | None:
    """Number of folds of a fit to so many samples without a validation set of their own.

    Raises
    ------
    ValueError, TypeError
        If a parameter is out of its range.
    """
    check_density_parameters(estimator)
    return number_of_folds(_n_folds(estimator), n_samples)


def number_of_folds(n_folds: int | str | None, n_samples: int) -> int | None:
    """Number of folds for so many samples; ValueError if there are fewer samples than folds."""
    if isinstance(n_folds, str):
        if not _FEWEST_ROWS_OF_FOLDS <= n_samples < _FEW_ROWS:
            return None
        return _N_FOLDS_FOR_VERY_FEW_ROWS if n_samples < _VERY_FEW_ROWS else _N_FOLDS
    if n_folds is not None and n_folds > n_samples:
        raise ValueError(f"n_folds={n_folds} is above the number of samples, {n_samples}.")
    return n_folds


def _settings(estimator: Any, train: Rows, progress: Progress) -> TrainingSettings:
    """Training settings, with sizes that suit the number of samples where they are "auto"."""
    n_samples = len(train)
    batch_size, max_iter = estimator.batch_size, estimator.max_iter
    if isinstance(batch_size, str):
        batch_size = min(_BATCH_SIZE, max(_MIN_BATCH_SIZE, n_samples // _MIN_BATCHES))
    if isinstance(max_iter, str):
        n_batches = math.ceil(n_samples / batch_size)
        most = _MIN_EPOCHS if n_samples < _FEW_ROWS else _MAX_EPOCHS
        max_iter = min(max(math.ceil(_STEPS / n_batches), _MIN_EPOCHS), most)
    settings = TrainingSettings(
        max_iter=min(int(max_iter), _MOST_ITER),
        batch_size=min(int(batch_size), n_samples),
        learning_rate=float(estimator.learning_rate_init),
        lipschitz_penalty=float(estimator.lipschitz_penalty),
        on_epoch=progress.epoch,
        on_part=progress.part,
    )
    if train.n_folds is not None:
        settings = replace(settings, patience=_PATIENCE_WITH_FOLDS, n_restarts=1)
    return settings


def _candidates(
    estimator: Any,
    n_samples: int,
    n_features: int,
    n_context: int,
    n_columns: int,
    variables: tuple[Variable, ...],
) -> CandidatePlan:
    """Families of each round, and what their architectures have in common."""
    flow = estimator.flow
    automatic = isinstance(flow, str) and flow == "auto"
    later = tuple(flow) if isinstance(flow, list | tuple) else (flow,)
    if automatic:
        later = _FAMILIES_OF_CONTEXT if n_context else _FAMILIES
        later = _FAMILIES_OF_MIXED_TABLES if variables else later
    few = automatic and not (n_context or variables) and n_samples < _FEW_ROWS
    first = _first_families(estimator, few=few, mixed=bool(variables))
    if variables:
        _check_mixed(estimator, (*first, *later))
    clamp, n_transforms = estimator.scale_clamp, estimator.n_transforms
    template = Architecture(
        family=later[0],
        n_features=n_features,
        base=estimator.base,
        tail=estimator.tail,
        dropout=_dropout(estimator.dropout, n_samples, n_features),
        log_det=estimator.log_det,
        scale_clamp=None if clamp is None else float(clamp),
        n_context=n_context,
    )
    return CandidatePlan(
        first=first,
        later=later,
        until_network=_FAMILIES_FOR_FEW_ROWS if few else (),
        sparse=_FAMILY_OF_SPARSE_TABLES if automatic and not (n_context or variables) else None,
        n_estimators=int(estimator.n_estimators),
        n_samples=n_samples,
        template=template,
        variables=variables,
        n_transforms=_n_transforms(n_transforms, n_features, n_context),
        views=_views(n_columns, n_context, n_features),
        activation=None if estimator.activation == "auto" else estimator.activation,
        hidden_layer_sizes=_hidden_layer_sizes(estimator.hidden_layer_sizes),
    )


def takes_mixed_tables(estimator: Any) -> bool:
    """Whether a density takes categories, missing values and atoms, by its parameters."""
    known = ["auto", *(family.name for family in families() if family.takes_variables)]
    names: list[Any] = []
    for part in (estimator.flow, () if estimator.init is None else estimator.init):
        names += part if isinstance(part, list | tuple) else [part]
    suited = all(isinstance(name, str) and name in known for name in names)
    return suited and combine_of(estimator) == "sum"


def _check_mixed(estimator: Any, names: Sequence[Any]) -> None:
    """Raise ValueError unless all families, and other parameters, suit a mixed table."""
    others = [name for name in names if not get_family(name).takes_variables]
    if others:
        known = [family.name for family in families() if family.takes_variables]
        raise ValueError(
            f"flow: {others[0]!r} takes no columns; with the parameter columns it must be one of "
            f'{known}, or "auto".'
        )
    if combine_of(estimator) == "product":
        raise ValueError('combine must be "sum" for a table with categories, gaps or atoms.')


def _first_families(estimator: Any, *, few: bool, mixed: bool) -> tuple[str, ...]:
    """Families of the first rounds; at least one round is left for `flow`."""
    init, flow, n_estimators = estimator.init, estimator.flow, int(estimator.n_estimators)
    if isinstance(init, str) and init == "auto":
        first = _FIRST_FAMILIES_OF_MIXED_TABLES if mixed else _FIRST_FAMILIES
        init = first if isinstance(flow, str) and flow == "auto" else None
        # It is one more, and not in place of the others.
        if init and few and n_estimators > len(_FIRST_FAMILIES) + 1:
            init = (*_FIRST_FAMILIES, _FIRST_FAMILY_FOR_FEW_ROWS)
    if init is None or n_estimators == 1:
        return ()
    names = (init,) if isinstance(init, str) else tuple(init)
    return names[1 - n_estimators :]


def _views(n_columns: int, n_context: int, n_features: int) -> tuple[View, ...]:
    """What components may see where models of mean and spread add columns to the features.

    Residuals given all of it; or the targets themselves, whose repeated values or branches splines
    of columns find at once, given all of it or the features alone.
    """
    n_known = n_context - 2 * n_features
    if not n_columns or n_columns >= n_known:
        return (View(),)
    return (View(0, "whitened"), View(n_known, "columns"), View(n_columns, "columns"))


def _n_transforms(n_transforms: int | str, n_features: int, n_context: int) -> int | None:
    """Layers of each flow, None for those of its family.

    Of one column given a context a second layer would do what one does.
    """
    if not isinstance(n_transforms, str):
        return int(n_transforms)
    return 1 if n_context and n_features == 1 else None


def _hidden_layer_sizes(sizes: Any) -> tuple[int, ...] | None:
    if isinstance(sizes, str):
        return None
    return check_hidden_layer_sizes("hidden_layer_sizes", sizes)


def _dropout(dropout: float | str, n_samples: int, n_features: int) -> float:
    if not isinstance(dropout, str):
        return float(dropout)
    return _DROPOUT_FOR_FEW_ROWS if n_samples < _FEW_ROWS_PER_COLUMN * n_features else 0.0
