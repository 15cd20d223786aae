"""The density estimator of scikit-learn's kind."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.utils import Tags

from skgbnf._fitting import unchanged_on_failure
from skgbnf._random import RandomState
from skgbnf.boosting.candidates import FamilyName
from skgbnf.estimators.answers import DensityAnswers
from skgbnf.estimators.attributes import DensityAttributes
from skgbnf.estimators.fitting import fit_density
from skgbnf.estimators.given import Given
from skgbnf.estimators.html import ColumnsInHTML
from skgbnf.estimators.plan import takes_mixed_tables
from skgbnf.estimators.saving import PersistentDensity
from skgbnf.flows import SCALE_CLAMP, CopulaBase
from skgbnf.persistence import persistent
from skgbnf.table.bounds import BoundsLike


@persistent
class GradientBoostedFlowDensity(
    ColumnsInHTML,
    PersistentDensity,
    DensityAnswers,
    DensityAttributes,
    DensityMixin,
    BaseEstimator,
):
    r"""Density of a table: a mixture of normalizing flows, fitted by gradient boosting.

    Each round trains one more component where the mixture so far fits badly, then refits all
    mixture weights:

    .. math:: \log p(x) = \log \sum_c w_c \, g_c(x).

    Log-likelihoods are exact, normalised and in the units of X, and samples are exact draws. The
    table may hold categories, dates and missing values; components are then densities that take
    these, and the fit answers questions about parts of a sample.

    Parameters
    ----------
    What most fits set:

    n_estimators : int, default=6
        Maximum number of rounds. Fewer are kept if the validation score stops improving.

    max_time : float or None, default=None
        Time limit for `fit`, in seconds; None for no limit. `fit` ends at the next safe point with
        the best model so far, and the learning rate of a round falls with the time if that runs out
        before the epochs. A table too large for the limit is subsampled: at most a million values
        for each second, and for networks no more samples than one epoch can cover. With a limit the
        model depends on the speed of the machine.

    columns : dict or None, default=None
        Kinds of features: ``{"rating": "ordinal", "zip": "categorical", "amount": "mixed",
        "angle": ("periodic", 360), 3: "continuous"}``, by name or position; see Notes. Others, and
        all with None, are found in a data frame, and in an array that holds other things than
        complete numbers. An empty dictionary finds those of any array.

    bounds : dict, sequence of pairs, pair, scipy.optimize.Bounds or None, default=None
        Intervals that features cannot leave, the bounds included: ``{"age": (0, None), 3: (0, 1)}``
        by name or position, a pair ``(lower, upper)`` for each feature, or one pair for all. None,
        -inf or inf is no bound. A key that is a feature's name means that feature, otherwise a
        position. Flows are fitted to the logarithm of the distance from the bound, or of the ratio
        of both distances. Samples never lie outside, and the log-density there is -inf. The density
        inside integrates to 1; a feature that gets noise is an exception: a value on the bound
        keeps its whole step, half of which lies outside. `fit` refuses samples outside, and bounds
        1e9 times as far from all samples as these are from each other.

    random_state : int, RandomState instance or None, default=None
        Seed of `fit`: the same integer gives the same model, bit for bit, on one machine.

    verbose : int, default=0
        0 prints nothing. 1 shows progress bars of rounds and epochs on a terminal with tqdm, and
        otherwise prints a line per round, and one every few seconds within a long round; both
        report log-likelihoods and the remaining time. 2 also prints a line for each trial and each
        epoch.

    The model:

    flow : str, callable, or list of these, default="auto"
        Family of the components.

        - "auto": "made_mixture"; with fewer than 2,000 training samples, until a round takes it,
          the best of it, "gaussian_mixture" and "copula_mixture". If at most a fifth of the pairs
          of features show dependence, the first network is "graphical", and later rounds may choose
          it too. The first rounds follow `init`. For a mixed table "autoregressive".
        - "nsf": autoregressive rational-quadratic splines; "nsf_coupling": the same in coupling
          layers, faster to sample with many features.
        - "maf": autoregressive affine maps; faster than splines.
        - "made_mixture": the same, but for the last map, under which each feature is a mixture of
          ten Gaussians whose parameters a network gives [10]_.
        - "graphical": "maf" without linear layers; each feature depends only on features it shows
          dependence on [6]_.
        - "realnvp": affine coupling layers, each of which changes every second feature [2]_;
          "glow": the same with a normalisation and a learned linear map before each layer [3]_.
        - "linear": linear layers alternating with one spline per feature, without a network [4]_.
        - "affine": one Gaussian with a full covariance.
        - "gaussian_mixture": Gaussians fitted by EM; the validation set chooses how many.
        - "copula_mixture": the same behind a fixed map of each feature onto a normal one; with one
          Gaussian a Gaussian copula.
        - "student_t": one multivariate Student t with three degrees of freedom, fitted by EM.
        - "autoregressive", for mixed tables as the next two: a network gives the density of each
          feature from those before it, in another order in each round [11]_.
        - "masked": the same, trained in random orders; it learns each order less well, and knows
          all conditionals, by which it proposes completions of samples.
        - "location_mixture": products of Gaussians and frequencies, fitted by EM to samples with
          gaps [12]_; every marginal and conditional has a closed form.
        - a callable ``n_features -> zuko.flows.Flow``, trained on standardised samples.

        From a list, each round takes the family with the best validation score. Of networks the
        better half goes on after a twentieth of the epochs, and so on until one is left [9]_. So is
        chosen, too, the place of the splines per feature in a flow of several layers: before the
        first linear layer or behind it ("maf", "made_mixture", "graphical" and "linear": before it
        or nowhere).

    init : str, list of str or None, default="auto"
        Families of the first rounds, one round each; `flow` governs the rounds after them. "auto"
        is ["student_t", "gaussian_mixture"] if `flow` is "auto", and None otherwise; with fewer
        than 2,000 training samples and at least four rounds, "copula_mixture" follows. For a mixed
        table it is ["location_mixture", "masked"]. At least one round uses `flow`: if `init` names
        `n_estimators` or more families, only the last ``n_estimators - 1`` are used, also when such
        a fit is continued. The Student t fits samples far from all others; with the Gaussian
        mixture the density does not fall behind one on the validation set. EM may take a tenth of
        `max_time` for each, less with more than 10,000 samples.

    base : {"normal", "student_t"} or CopulaBase, default="normal"
        Base distribution of the flows. "student_t" has heavy tails with degrees of freedom learned
        per feature; it is short for ``CopulaBase(df="learn")``. A :class:`CopulaBase` chooses the
        marginals and their copula. With a base other than "normal", or with ``tail="transform"``,
        "affine" is trained by gradient descent like other flows.

    tail : {"base", "transform"}, default="base"
        Source of the tails of flows: the base, or a first layer that maps each side of each
        feature from a Student t, with the tail index of the training samples there, onto a normal.
        Use "transform" for features with different or one-sided tails: layers that mix features
        give all of them the heaviest tail of the base. "copula_mixture" is tried with both;
        "gaussian_mixture", "student_t" and callables do not use it.

    combine : {"sum", "product"}, default="sum"
        How components make up the density: a mixture, or a normalised product of powers of the
        components, the multiplicative mixture of [1]_. A product's integral is estimated, with the
        standard error `log_normalizer_error_`; its samples are exact. It needs ``fine_tune=0`` and
        does not use `objective`.

    n_transforms : int or "auto", default="auto"
        Layers of each flow; "auto" is 4 for "maf" and 3 for others. One coupling layer changes only
        half of the features, so "realnvp" needs at least two.

    hidden_layer_sizes : int, tuple of int or "auto", default="auto"
        Widths of the hidden layers of each network; an integer means one layer. "auto" is
        (128, 128) for "autoregressive" and "masked", (64, 64) for others.

    activation : {"auto", "relu", "tanh", "elu", "silu"}, default="auto"
        Activation function of the networks; "auto" is "silu" for "maf", "made_mixture",
        "graphical", "autoregressive" and "masked", "relu" for others.

    dropout : float or "auto", default="auto"
        Fraction of the hidden values dropped in a training step, in [0, 1). "auto" is 0.1 with
        fewer than 50 training samples per feature, and 0 otherwise.

    log_det : {"lu", "exact", "self_normalizing"}, default="lu"
        Parametrisation of the linear layers, and source of the gradient of their log-determinant.
        "lu": triangular factors, for which it is a sum. "exact": any matrix and its inverse,
        O(n_features^3) a step. "self_normalizing": any matrix and an approximate inverse learned
        beside it, O(n_features^2) a step [5]_. Scores and samples are exact in each case. Not used
        by "affine".

    scale_clamp : float or None, default=3.0
        Soft bound on the log-scales that the affine maps of "maf", "made_mixture", "graphical",
        "realnvp" and "glow" take from networks; None for no bound. It lets deep flows train at
        learning rates at which the loss would overflow without it; below 1 it costs likelihood.

    The training:

    objective : {"tempered", "greedy", "weighted"}, default="tempered"
        Objective of the rounds after the first. "greedy": the likelihood of the mixture as a
        function of the new component. "tempered": the component's own likelihood at first, moving
        to that of the mixture during the round; the validation set chooses where to stop.
        "weighted": the component's own likelihood with samples weighted by the inverse of the
        current density, as in [1]_. Families fitted by EM use "greedy" in place of "tempered".

    learning_rate_init : float, default=0.006
        Learning rate of the optimiser, SOAP [7]_, at the start of a round; it decays along half a
        cosine.

    batch_size : int or "auto", default="auto"
        Samples per training step; "auto" is 256, fewer for small tables.

    max_iter : int or "auto", default="auto"
        Maximum number of epochs of a round. "auto" is 30 with fewer than 2,000 training samples,
        and with more as many as make 8,000 steps, from 30 to 200. Families fitted by EM have a
        limit of their own.

    lipschitz_penalty : float, default=0.0
        Weight of a smoothness penalty: the mean squared log of the local stretch relative to the
        best affine map. It lowers the Lipschitz constants of each map and of its inverse, which
        :func:`skgbnf.diagnostics.jacobian_report` measures, and makes a training step about twice
        as slow. Not used by families fitted by EM.

    fine_tune : int, default=0
        Passes after the last round in which each component is retrained with the others fixed.
        Gaussians are also restarted elsewhere, and refitted together by EM. With `warm_start`, a
        fit that adds rounds fine-tunes the earlier components too; one that adds none changes
        nothing.

    When to stop:

    n_folds : int, "auto" or None, default="auto"
        Number of folds for cross-fitting [8]_, at least 2; None for one validation set. A round
        then trains one component per fold, on the samples of the other folds. Every sample thus
        trains and validates: it is scored by the components that did not see it, and these
        out-of-fold scores stop training, choose families, fit the mixture weights and stop
        boosting. The components of a round share its weight equally. "auto" is 10 with 10 to 199
        samples, 5 with up to 1,999, and None with more or fewer, with ``combine="product"`` and
        without a validation set. Ignored if `fit` is given `X_val`.

    validation_fraction : float or None, default=0.1
        Without folds, the fraction of the samples set aside as validation set, which stops the
        training of a component, fits the mixture weights and chooses the number of rounds; at least
        10 samples, at most a third of them. None or 0 trains `n_estimators` rounds on all samples,
        and uses the training score for the rest. Ignored if `fit` is given `X_val`.

    n_iter_no_change : int, default=2
        Rounds without a gain of `tol` after which boosting stops.

    tol : float, default=1e-4
        Smallest gain in mean log-likelihood that counts, in nats.

    The features:

    dequantize : {"auto", True, False}, float or array-like of shape (n_features,), default="auto"
        Treatment of repeated values in a table of numbers, at which a density has no bound; not
        used for a mixed table, which has probabilities there. A feature on a grid, such as
        counts, gets uniform noise as wide as the step; its density at a value is the probability of
        the value divided by the step. In other features, values that hold at least 5 % of the
        samples (zeros beside amounts) and codes far from all other values (-9999) are atoms: kept
        apart from the rest and sampled exactly, with a density of their probability divided by a
        twentieth of the spread of the other values.

        - "auto": features with a value that holds 5 % of the samples or with such a code are
          treated, with a warning.
        - True: all features with repeated values are treated, without a warning; values that repeat
          too rarely for an atom get noise.
        - False: none is treated.
        - a float or an array: width of the noise of all features, or of each, in units of X.

    Running and continuing:

    warm_start : bool, default=False
        Whether `fit` adds rounds to those already fitted, up to `n_estimators`. The units, `bounds`
        and noise of the first fit are kept; earlier components change only by `fine_tune`.

    checkpoint : str, path-like or None, default=None
        File to which the model is saved after each round. :func:`skgbnf.load` opens it, and `fit`
        continues from it with `resume_from`.

    device : {"cpu", "cuda", "auto"} or torch.device, default="cpu"
        Device to compute on; "auto" is a GPU if there is one. Results are always NumPy arrays.

    Attributes
    ----------
    n_features_in_ : int
        Number of features seen in fit.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, if X had string names for all of them.

    fitted_ : FittedDensity
        All that `fit` found; the other attributes, properties below, are read from it.

    See Also
    --------
    FlowImputer : Missing values filled in.
    FlowOutlierDetector : Samples of low density.
    sklearn.mixture.GaussianMixture, sklearn.neighbors.KernelDensity

    Notes
    -----
    Features are of these kinds, which `columns_` tells:

    - "continuous": numbers, and dates and durations in seconds.
    - "ordinal": whole numbers.
    - "categorical": text, booleans and types of categories.
    - "mixed": numbers with atoms, values that many samples share or that lie far from all others.
    - "periodic": angles and hours, only if asked for.
    - "constant": a single value.

    A table is mixed if it has missing values or features that are not continuous, ordinal or
    constant numbers, or if `columns` names a feature. Its density is by length in continuous
    parts and by counting in others: categories, ordinal values and atoms have probabilities. That
    of a sample with gaps is the density of the values it has. All other tables, arrays of complete
    numbers among them, are tables of numbers, and so are frames of numbers without gaps if `flow`
    has no family for mixed tables.

    References
    ----------
    .. [1] Gradient Boosted Normalizing Flows. R. Giaquinto, A. Banerjee, 2020.
       https://arxiv.org/abs/2002.11896
    .. [2] Density estimation using Real NVP. L. Dinh, J. Sohl-Dickstein, S. Bengio, 2017.
       https://arxiv.org/abs/1605.08803
    .. [3] Glow: Generative Flow with Invertible 1x1 Convolutions. D. P. Kingma, P. Dhariwal,
       2018. https://arxiv.org/abs/1807.03039
    .. [4] Gaussianization Flows. C. Meng, Y. Song, J. Song, S. Ermon, 2020.
       https://arxiv.org/abs/2003.01941
    .. [5] Self Normalizing Flows. T. A. Keller, J. W. T. Peters, P. Jaini, E. Hoogeboom, P. Forré,
       M. Welling, 2021. https://arxiv.org/abs/2011.07248
    .. [6] Graphical Normalizing Flows. A. Wehenkel, G. Louppe, 2021.
       https://arxiv.org/abs/2006.02548
    .. [7] SOAP: Improving and Stabilizing Shampoo using Adam. N. Vyas, D. Morwani, R. Zhao, M.
       Kwun, I. Shapira, D. Brandfonbrener, L. Janson, S. Kakade, 2024.
       https://arxiv.org/abs/2409.11321
    .. [8] Linearly Combining Density Estimators via Stacking. P. Smyth, D. Wolpert, 1999.
       https://doi.org/10.1023/A:1007511322260
    .. [9] Non-stochastic Best Arm Identification and Hyperparameter Optimization. K. Jamieson, A.
       Talwalkar, 2016. https://arxiv.org/abs/1502.07943
    .. [10] Masked Autoregressive Flow for Density Estimation. G. Papamakarios, T. Pavlakou, I.
       Murray, 2017. https://arxiv.org/abs/1705.07057
    .. [11] MADE: Masked Autoencoder for Distribution Estimation. M. Germain, K. Gregor, I. Murray,
       H. Larochelle, 2015. https://arxiv.org/abs/1502.03509
    .. [12] Supervised learning from incomplete data via an EM approach. Z. Ghahramani, M. I.
       Jordan, 1994. https://proceedings.neurips.cc/paper/1993/hash/f2201f5191c4e92cc5af043eebfd0946-Abstract.html

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skgbnf import GradientBoostedFlowDensity
    >>> X = load_iris().data
    >>> model = GradientBoostedFlowDensity(2, dequantize=True, max_iter=5, random_state=0).fit(X)
    >>> model.score_samples(X).shape
    (150,)
    >>> model.sample(3, random_state=0).shape
    (3, 4)
    >>> model = GradientBoostedFlowDensity(flow="affine", bounds=(0, None), dequantize=True).fit(X)
    >>> bool((model.sample(1000, random_state=0) >= 0).all())
    True

    A frame with a category and a gap:

    >>> data = load_iris(as_frame=True)
    >>> frame = data.data.assign(species=data.target_names[data.target])
    >>> frame.loc[0, "species"] = None
    >>> model = GradientBoostedFlowDensity(1, flow="location_mixture", random_state=0).fit(frame)
    >>> model.sample_missing(frame[:1], random_state=0)["species"].tolist()
    ['setosa']
    """

    __module__ = "skgbnf"  # the path in pickles, which stays wherever the class moves

    def __init__(
        self,
        n_estimators: int = 6,
        *,
        max_time: float | None = None,
        columns: Mapping[Any, Any] | None = None,
        bounds: BoundsLike = None,
        random_state: RandomState = None,
        verbose: int = 0,
        flow: FamilyName | Sequence[FamilyName] = "auto",
        init: str | Sequence[str] | None = "auto",
        base: str | CopulaBase = "normal",
        tail: str = "base",
        combine: str = "sum",
        n_transforms: int | str = "auto",
        hidden_layer_sizes: int | Sequence[int] | str = "auto",
        activation: str = "auto",
        dropout: float | str = "auto",
        log_det: str = "lu",
        scale_clamp: float | None = SCALE_CLAMP,
        objective: str = "tempered",
        learning_rate_init: float = 6e-3,
        batch_size: int | str = "auto",
        max_iter: int | str = "auto",
        lipschitz_penalty: float = 0.0,
        fine_tune: int = 0,
        n_folds: int | str | None = "auto",
        validation_fraction: float | None = 0.1,
        n_iter_no_change: int = 2,
        tol: float = 1e-4,
        dequantize: ArrayLike = "auto",
        warm_start: bool = False,
        checkpoint: str | os.PathLike[str] | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        self.n_estimators = n_estimators
        self.max_time = max_time
        self.columns = columns
        self.bounds = bounds
        self.random_state = random_state
        self.verbose = verbose
        self.flow = flow
        self.init = init
        self.base = base
        self.tail = tail
        self.combine = combine
        self.n_transforms = n_transforms
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.dropout = dropout
        self.log_det = log_det
        self.scale_clamp = scale_clamp
        self.objective = objective
        self.learning_rate_init = learning_rate_init
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.lipschitz_penalty = lipschitz_penalty
        self.fine_tune = fine_tune
        self.n_folds = n_folds
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.dequantize = dequantize
        self.warm_start = warm_start
        self.checkpoint = checkpoint
        self.device = device

    def fit(
        self,
        X: ArrayLike,
        y: object = None,
        sample_weight: ArrayLike | None = None,
        X_val: ArrayLike | None = None,
        sample_weight_val: ArrayLike | None = None,
        resume_from: str | os.PathLike[str] | None = None,
        X_reference: ArrayLike | None = None,
    ) -> Self:
        """Fit the density to samples, round by round.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples, n_features)
            Training samples, with missing values (NaN, None, pandas.NA, NaT) or without.

        y : None
            Ignored, present for the scikit-learn interface.

        sample_weight : array-like of shape (n_samples,), default=None
            Sample weights. Weight 0 counts as absent; a common factor changes nothing.

        X_val : array-like of shape (n_val_samples, n_features), default=None
            Validation set. With one, no training samples are set aside.

        sample_weight_val : array-like of shape (n_val_samples,), default=None
            Weights of the validation set.

        resume_from : str, path-like or None, default=None
            Checkpoint of an interrupted fit. With the same samples and parameters the result is
            that of a fit without interruption, bit for bit unless `max_time` is set. Parameters
            that finished rounds do not depend on, such as `n_estimators`, may have changed.

        X_reference : array-like of shape (n_reference_samples, n_features), default=None
            Table from which kinds, levels, repeated values and constant features are taken; None
            for X. Give the whole table when fitting parts of it, so that their scores are
            comparable.

        Returns
        -------
        self : GradientBoostedFlowDensity

        Raises
        ------
        ValueError, TypeError
            If a parameter is out of its range, or X, the weights or the checkpoint are not as
            described above. The estimator is then unchanged.

        Warns
        -----
        DegenerateDataWarning
            If a feature is constant, a linear function of others, or has an atom of which
            `dequantize` says nothing; or if many values coincide in the units of training.

        sklearn.exceptions.ConvergenceWarning
            If the loss was not finite in many training steps.
        """
        given = Given(X, sample_weight, X_val, sample_weight_val, X_reference)
        with unchanged_on_failure(self):
            interrupt = fit_density(self, given, resume_from)
        if interrupt is not None:
            raise interrupt
        return self

    def __sklearn_tags__(self) -> Tags:
        """Gaps, text and categories are taken as they are, if all families take them."""
        tags: Tags = super().__sklearn_tags__()
        inputs = tags.input_tags
        inputs.allow_nan = inputs.string = inputs.categorical = takes_mixed_tables(self)
        return tags
