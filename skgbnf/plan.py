"""What a fit is to train: sizes by the number of rows, architectures round by round."""

import math
from collections.abc import Sequence
from dataclasses import replace

from skgbnf.flows import LAYERED_FAMILIES, Architecture, dependence
from skgbnf.search import Ladder
from skgbnf.training import Rows, Settings
from skgbnf.validation import check_hidden_layer_sizes

_FEW_ROWS = 2000
_FAMILIES = ("nsf", "maf")
_FAMILIES_FOR_FEW_ROWS = (*_FAMILIES, "gaussian_mixture")
_SPARSE = 0.2
_FEWEST_ROWS_OF_A_GRAPH = 200
_SMOOTH = ("maf", "graphical")
_N_TRANSFORMS = 3
_N_TRANSFORMS_OF_MAF = 4
_FIRST_FAMILIES = ("student_t", "gaussian_mixture")
_MIXTURE_SIZES = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96)
_FIRST_SHARE = 0.1
_MANY_ROWS = 10_000
_BATCH_SIZE = 256
_MIN_BATCH_SIZE = 32
_MIN_BATCHES = 16
_FEW_ROWS_PER_COLUMN = 50
_DROPOUT_FOR_FEW_ROWS = 0.1
_STEPS = 8000
_MIN_EPOCHS = 30
_MAX_EPOCHS = 200
_MOST_ITER = 10**12
_NETWORK_CELLS_PER_SECOND = 250_000
_FEWEST_ROWS_IN_TIME = 1000


def training_settings(estimator, n_samples: int) -> Settings:
    """Training settings, with sizes that suit the number of rows where they are "auto"."""
    batch_size, max_iter = estimator.batch_size, estimator.max_iter
    if isinstance(batch_size, str):
        batch_size = min(_BATCH_SIZE, max(_MIN_BATCH_SIZE, n_samples // _MIN_BATCHES))
    if isinstance(max_iter, str):
        n_batches = math.ceil(n_samples / batch_size)
        max_iter = min(max(math.ceil(_STEPS / n_batches), _MIN_EPOCHS), _MAX_EPOCHS)
    return Settings(
        min(int(max_iter), _MOST_ITER),
        min(int(batch_size), n_samples),
        float(estimator.learning_rate_init),
        lipschitz_penalty=float(estimator.lipschitz_penalty),
    )


def first_families(estimator) -> tuple[str, ...]:
    """Families of the first rounds, as `init` says; at least one round is left for `flow`."""
    init = estimator.init
    if isinstance(init, str) and init == "auto":
        init = _FIRST_FAMILIES if estimator.flow == "auto" else None
    if init is None or estimator.n_estimators == 1:
        return ()
    families = (init,) if isinstance(init, str) else tuple(init)
    return families[1 - estimator.n_estimators :]


def is_sparse(rows: Rows) -> bool:
    """Whether no more than a fifth of the pairs of columns are seen to depend on each other.

    Of one column there are no pairs, and few rows show nothing.
    """
    n_samples, n_features = rows.x.shape
    if n_features == 1 or n_samples < _FEWEST_ROWS_OF_A_GRAPH:
        return False
    n_dependent = int(dependence(rows.x, rows.weights).sum()) - n_features
    return n_dependent <= _SPARSE * n_features * (n_features - 1)


def ladders(
    estimator, n_rounds: int, n_samples: int, *, sparse: bool
) -> tuple[list[Ladder], float]:
    """Architectures that the next round may choose from, and its share of the time there is.

    Parameters
    ----------
    estimator : GradientBoostedFlowDensity
        Its parameters checked, its number of columns known.

    n_rounds : int
        Rounds before this one.

    n_samples : int
        Number of training rows.

    sparse : bool
        Whether "auto" includes "graphical": as the first network, unless there is one round only,
        and in each round after it.
    """
    first = first_families(estimator)
    if n_rounds < len(first):
        # With more rows networks leave EM further behind, and need more time.
        share = _FIRST_SHARE * min(1.0, _MANY_ROWS / n_samples)
        return _family(estimator, first[n_rounds], n_samples), share
    kinds = estimator.flow if isinstance(estimator.flow, list | tuple) else [estimator.flow]
    if estimator.flow == "auto":
        kinds = _FAMILIES_FOR_FEW_ROWS if n_samples < _FEW_ROWS else _FAMILIES
        if sparse:
            # A short trial would not tell what it is worth: others learn faster, and then noise.
            alone = n_rounds == len(first) and estimator.n_estimators > 1
            kinds = ("graphical",) if alone else (*kinds, "graphical")
    return [ladder for kind in kinds for ladder in _family(estimator, kind, n_samples)], 1.0


def rows_in_time(offered: Sequence[Ladder], n_features: int, seconds: float) -> float:
    """Number of training rows that a round can make use of in the time there is.

    What a network is started from, and scored on, in so many seconds, takes a good part of them;
    it would not see more rows once. EM makes good use of all rows.
    """
    kinds = {architecture.kind for ladder in offered for architecture in ladder}
    if not any(callable(kind) or kind in LAYERED_FAMILIES for kind in kinds):
        return math.inf
    return max(_NETWORK_CELLS_PER_SECOND * seconds / n_features, _FEWEST_ROWS_IN_TIME)


def _family(estimator, kind, n_samples: int) -> list[Ladder]:
    """The architectures of one family: splines in two places, or several sizes."""
    n_transforms, activation = estimator.n_transforms, estimator.activation
    # An affine layer costs about half as much as one of splines and does less; smooth networks
    # suit what has no splines behind them.
    if isinstance(n_transforms, str):
        n_transforms = _N_TRANSFORMS_OF_MAF if kind == "maf" else _N_TRANSFORMS
    if activation == "auto":
        activation = "silu" if kind in _SMOOTH else "relu"
    architecture = Architecture(
        kind=kind,
        n_features=estimator.n_features_in_,
        base=estimator.base,
        tail=estimator.tail,
        n_transforms=int(n_transforms),
        hidden_layer_sizes=check_hidden_layer_sizes(estimator.hidden_layer_sizes),
        activation=activation,
        dropout=_dropout(estimator, n_samples),
        log_det=estimator.log_det,
        scale_clamp=None if estimator.scale_clamp is None else float(estimator.scale_clamp),
    )
    if kind == "gaussian_mixture":
        return [[replace(architecture, n_components=k) for k in _MIXTURE_SIZES]]
    if kind in LAYERED_FAMILIES:
        # "maf" serves few rows, which have too little to teach splines of whitened columns too;
        # "linear" has them in any case, and "graphical" whitens nothing.
        places = ("columns", None if kind in (*_SMOOTH, "linear") else "whitened")
        return [[replace(architecture, splines=splines)] for splines in places]
    return [[architecture]]


def _dropout(estimator, n_samples: int) -> float:
    if estimator.dropout != "auto":
        return float(estimator.dropout)
    few = n_samples < _FEW_ROWS_PER_COLUMN * estimator.n_features_in_
    return _DROPOUT_FOR_FEW_ROWS if few else 0.0
