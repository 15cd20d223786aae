"""The density estimator: validate, standardise, boost, answer."""

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.utils.validation import check_is_fitted
from zuko.lazy import LazyDistribution

from skgbnf._random import RandomState
from skgbnf.boosting import Boosting
from skgbnf.fitting import training_mode
from skgbnf.flows import SCALE_CLAMP, CopulaBase
from skgbnf.persistence import load, persistent, save
from skgbnf.preparation import Table, prepare
from skgbnf.progress import make_progress
from skgbnf.rounds import Rounds, check_resumed, start_rounds
from skgbnf.scoring import fitted_mixture, is_lazy, log_densities, score_lazily
from skgbnf.state import MixtureState
from skgbnf.table.frames import integer_columns, make_frame
from skgbnf.validation import (
    check_density_parameters,
    check_file_can_be_made,
    check_integer,
    check_path,
    check_weights,
    fit_device,
    seed_from,
)

Family = str | Callable[[int], LazyDistribution]
Bounded = Mapping[Any, Any] | Sequence[Any] | np.ndarray | None


@persistent
class GradientBoostedFlowDensity(MixtureState, DensityMixin, BaseEstimator):
    r"""Density of a numeric table by gradient boosting normalizing flows.

    A mixture of flows that grows by rounds. Each round trains one more component on what the
    mixture so far explains badly, then fits all weights anew:

    .. math:: \log p(x) = \log \sum_c w_c \, g_c(x).

    The density is normalised, exact, in the units of X, and can be sampled exactly.

    Parameters
    ----------
    n_estimators : int, default=6
        Largest number of rounds. Fewer are kept if held-out rows stop gaining.

    flow : str, callable, or list of these, default="auto"
        Family of the components.

        - "auto": each round takes the better of "nsf" and "maf"; on fewer than 2,000 training
          rows, the best of these and "gaussian_mixture". The first rounds follow `init`. Where no
          more than a fifth of the pairs of columns are seen to depend on each other, the first
          network is "graphical", which each later round may take too.
        - "nsf": autoregressive rational-quadratic splines; "nsf_coupling": the same in coupling
          layers, faster to sample in many columns.
        - "maf": affine maps, autoregressive; faster than splines.
        - "graphical": the same without linear layers, each column governed only by columns that
          it is seen to depend on, as in [6]_.
        - "realnvp" [2]_: affine couplings, each of which changes every second column; "glow"
          [3]_: the same with a normalisation and a learned linear map before each.
        - "linear": linear layers in turn with a spline for each column, without a network, as
          in [4]_.
        - "affine": one full-covariance Gaussian.
        - "gaussian_mixture": Gaussians fitted by EM, their number chosen on held-out rows.
        - "student_t": one multivariate Student t of three degrees of freedom, fitted by EM.
        - a callable ``n_features -> zuko.flows.Flow``, to be trained on standardised rows.

        From a list each round takes what does best on held-out rows, networks after a trial of
        a twentieth of the epochs. In the same way each round decides where a flow of several
        layers has a spline for each column: before its first linear layer or behind it ("maf",
        "graphical" and "linear": before it or nowhere).

    init : str, list of str or None, default="auto"
        Families of the first rounds, a round each, to which those of `flow` add. One round of
        `n_estimators` is left to `flow`: if there are too many families, the first ones are
        passed over, and a fit that is continued later has then begun with fewer. "auto": if
        `flow` is "auto", "student_t" and "gaussian_mixture", otherwise none. A Student t takes
        the rows that lie far from all others, and the mixture of Gaussians keeps the density from
        falling behind one on held-out rows; EM may take a tenth of `max_time` for each, less with
        more than 10,000 rows.

    base : {"normal", "student_t"} or CopulaBase, default="normal"
        What flows map the rows onto. "student_t" has heavy tails, their weight learned for each
        column; it is short for ``CopulaBase(df="learn")``. A :class:`CopulaBase` says more
        about the columns and what joins them. With another base than "normal", or with
        ``tail="transform"``, "affine" is trained by gradients like the other flows.

    tail : {"base", "transform"}, default="base"
        What gives flows their tails: the base, or a first layer that maps each side of each
        column, by its own tail index in the training rows, as a Student t of that index is mapped
        onto a normal. Columns with different tails, or skewed ones, need the second, since layers
        that mix columns give all of them the heaviest tail of the base. No matter to
        "gaussian_mixture", "student_t" and callables.

    objective : {"tempered", "greedy", "weighted", "geometric"}, default="tempered"
        What rounds after the first maximise. "greedy": the exact likelihood of the mixture, as a
        function of the new component. "tempered": at first the component's own likelihood, then
        ever more that of the mixture; held-out rows decide where to stop. "weighted": the
        component's own likelihood on rows weighted by the inverse of the present density, as in
        [1]_. Components fitted by EM take "tempered" for "greedy". "geometric": the density is the
        product of powers of the components over its integral, the multiplicative mixture of
        [1]_. The integral is known within `log_normalizer_error_`, samples are exact, and
        `fine_tune` must be 0.

    n_transforms : int or "auto", default="auto"
        Layers of each flow; "auto": 4 of "maf", 3 of others. One coupling changes only half of
        the columns, so "realnvp" needs two.

    hidden_layer_sizes : int or tuple of int, default=(64, 64)
        Widths of the hidden layers of each network; an integer stands for one layer.

    activation : {"auto", "relu", "tanh", "elu", "silu"}, default="auto"
        Non-linearity of the networks; "auto": "silu" in "maf" and "graphical", "relu" in others.

    dropout : float or "auto", default="auto"
        Share of the values of each hidden layer that a training step leaves out, from 0 to below
        1; "auto": 0.1 where there are fewer than 50 training rows for each column, 0 elsewhere.

    log_det : {"lu", "exact", "self_normalizing"}, default="lu"
        How the linear layers of flows are parametrised, and what gives the gradient of their
        log-determinant. "lu": triangular factors, for which it is a sum. "exact": any matrix,
        and its inverse, O(n_features^3) a step. "self_normalizing": any matrix, and an approximate
        inverse that is learned beside it, O(n_features^2) a step [5]_. Scores and samples are
        exact in each case. "affine" has no gradient and ignores it.

    scale_clamp : float or None, default=3.0
        Soft bound of the logarithm of the scales that networks of "maf", "graphical",
        "realnvp" and "glow" give.
        With it, deep flows train at rates at which without it the loss overflows; below 1 it
        costs likelihood. None for no bound.

    lipschitz_penalty : float, default=0.0
        Nats taken off the training objective for each unit of the mean squared logarithm of how
        much a flow stretches short steps, beyond what the best affine map does. It holds down the
        Lipschitz constants of the map and of its inverse, which
        :func:`skgbnf.diagnostics.jacobian_report` measures. A training step then costs about
        twice as much. Components fitted by EM have none.

    learning_rate_init : float, default=0.006
        Learning rate of Adam at the start of a round; it falls along half a cosine.

    batch_size : int or "auto", default="auto"
        Rows per training step; "auto" takes 256, fewer on small tables.

    max_iter : int or "auto", default="auto"
        Largest number of epochs a round; "auto" takes more on small tables, which make few
        steps an epoch. Families fitted by EM have a limit of their own.

    fine_tune : int, default=0
        Passes after the last round in which each component is retrained against all the others.
        Gaussians are also tried in other places, and all of them settled together by EM. A
        `warm_start` that adds rounds retrains the earlier components with the new ones; one that
        adds none leaves all as they are.

    max_time : float or None, default=None
        Seconds of wall time after which `fit` ends at the next safe point, with the best model
        so far; the first fit of a process that trains a network takes about a second more, in
        which torch imports what it needs. The learning rate of a round falls with the time where
        that would run out before the epochs. Of a table too large for the time a part of the rows
        is looked at, drawn at random: no more than a million cells for each second, and for
        networks no more than they can see once. None sets no limit; with a limit, the model
        depends on how fast the machine is.

    validation_fraction : float or None, default=0.1
        Share of the rows set aside to stop the training of a component, to fit the weights of
        the mixture and to choose the number of rounds; at least 10, but no more than a third
        of the rows. None or 0 trains on all rows for `n_estimators` rounds and lets the
        training rows decide the rest. Ignored if `fit` is given `X_val`.

    n_iter_no_change : int, default=2
        Rounds without gain on held-out rows after which boosting stops.

    tol : float, default=1e-4
        Smallest gain in mean log-likelihood, in nats, that counts.

    dequantize : {"auto", True, False}, float or array-like of shape (n_features,), default="auto"
        What is done about values that repeat. On a column whose values lie on a grid, `fit` adds
        uniform noise as wide as the step, so that there is a density: at a value it is the
        probability of the value over the step. Amid others that lie on no grid, values that hold
        a twentieth of the rows or more (zeros beside amounts), and codes far from all others
        (-9999), are atoms: kept apart from the rest of the column, drawn exactly, their density
        the probability over a twentieth of the spread of the others. "auto" does so, with a
        warning, where a column has such a value; True wherever a value repeats, smaller repeats
        spread where they are; False nowhere. A number is the width of noise for all columns, an
        array that of each, in units of X.

    bounds : dict, sequence of pairs, pair, scipy.optimize.Bounds or None, default=None
        Intervals that columns cannot leave: ``{"age": (0, None), 3: (0, 1)}`` by column, a pair
        ``(lower, upper)`` for each column, or one pair of numbers for all; None, -inf or inf for
        no bound. A key that is the name of a column is that column, otherwise it is a position.
        Flows are trained on the logarithm of the distance from
        the bound, or on that of the ratio of both distances. `fit` refuses rows outside, and
        bounds 1e9 times as far from all rows as these are from each other; the score of a row
        outside is -inf, and no sample lies there. Rows on a bound are inside. The density inside
        integrates to 1, but for a column to which noise is added: a value on the bound keeps the
        whole of its step there, half of which lies outside.

    warm_start : bool, default=False
        Whether `fit` adds rounds to those already fitted, up to `n_estimators`, in the units,
        with the `bounds` and the noise of `dequantize` chosen for these. It leaves the earlier
        components as they are, unless `fine_tune` retrains them.

    checkpoint : str, path-like or None, default=None
        File to which the rounds fitted so far are saved after each. :func:`skgbnf.load` opens it,
        and `fit` goes on from it with `resume_from`.

    device : {"cpu", "cuda", "auto"} or torch.device, default="cpu"
        Where to compute; "auto" takes a GPU if there is one. Results are NumPy arrays always.

    random_state : int, RandomState instance or None, default=None
        Governs `fit`: the same integer gives the same model, bit for bit, on one machine.

    verbose : int, default=0
        0 prints nothing. 1 shows bars for rounds and epochs on a terminal where tqdm is
        installed, and otherwise prints a line for each round; both tell from the start what is
        being done, trials and EM included (lines every few seconds), log-likelihoods and about
        how long it may take. 2 prints a line for each trial and each epoch too.

    Attributes
    ----------
    estimators_ : list of FittedComponent
        The components, their parameters as NumPy arrays.

    estimator_weights_ : ndarray of shape (`n_estimators_`,)
        Weights of the components (with ``objective="geometric"`` their powers), which sum to 1.

    staged_weights_ : ndarray of shape (`n_estimators_`, `n_estimators_`)
        Row c holds the weights after round c.

    n_estimators_ : int
        Number of rounds kept.

    train_scores_ : ndarray of shape (`n_estimators_`,)
        Mean log-likelihood of the training rows after each round, in nats.

    validation_scores_ : ndarray of shape (`n_estimators_`,) or None
        The same for the held-out rows; None without any.

    reference_score_ : float
        Mean log-likelihood of the training rows under the Gaussian that makes them most likely, in
        nats: what the best affine flow reaches on the same rows as `train_scores_`, with the noise
        of `dequantize` and behind the maps of `bounds`. inf where it has no bound, as with a
        constant column. See :func:`skgbnf.diagnostics.gaussian_reference_score`.

    n_iter_ : ndarray of shape (`n_estimators_`,)
        Epochs (for Gaussians, EM iterations) each component was trained for.

    gains_ : ndarray of shape (`n_estimators_`,)
        What each component promised to gain on held-out rows per unit of weight, in nats: the
        mean of its density over that of the mixture before it, less 1; inf for the first. No
        weight gains more, and boosting stops where it is `tol` or less. With
        ``objective="geometric"``, the mean of the difference of their log-densities, less its
        mean over rows drawn from the mixture.

    log_normalizer_ : float or None
        With ``objective="geometric"``, logarithm of the integral of the product of powers, which
        scores are corrected by; None for mixtures, which integrate to 1 by themselves.

    log_normalizer_error_ : float or None
        Its standard error, in nats.

    staged_log_normalizers_ : ndarray of shape (`n_estimators_`,) or None
        The same logarithm after each round.

    coordinates_ : Coordinates
        The map between the units of X and those in which flows are trained, from which the
        attributes below up to `scale_` are read.

    dequantize_widths_ : ndarray of shape (`n_features_in_`,)
        Widths of the noise that was added, or by which the probability of an atom is divided, in
        units of X; 0 where there are none.

    atoms_ : list of ndarrays
        For each column the values that are kept apart from the rest, ascending.

    bounds_ : ndarray of shape (2, `n_features_in_`)
        Lower and upper bounds of the columns, -inf and inf for none.

    bound_margins_ : ndarray of shape (2, `n_features_in_`)
        How far outside of them their maps go to infinity: half the width of the noise, or else a
        tenth of the smallest distance of a training row from the bound.

    dequantize_origins_ : ndarray of shape (`n_features_in_`,)
        A value of the grid of each column that was spread over its step; NaN for other columns.

    container_ : {"numpy", "pandas", "polars", "pyarrow"}
        Library of the table seen in fit.

    dtypes_ : list of str
        Types of its columns.

    column_labels_ : list
        Names of its columns as they are, strings or not; positions where it had none.

    column_level_names_ : list
        Names of the levels of its column index, one unless it was a MultiIndex of pandas.

    location_, scale_ : ndarrays of shape (`n_features_in_`,)
        Mean and standard deviation by which rows are standardised, in units of X. Of columns with
        bounds or atoms, and of those whose rows lie at several scales, after their map.

    n_features_in_ : int
        Number of columns seen in fit.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns, if X had string names for all of them.

    See Also
    --------
    sklearn.mixture.GaussianMixture : Mixture of a fixed number of Gaussians.
    sklearn.neighbors.KernelDensity : Kernel density estimate.

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
    """

    def __init__(
        self,
        n_estimators: int = 6,
        *,
        flow: Family | Sequence[Family] = "auto",
        init: str | Sequence[str] | None = "auto",
        base: str | CopulaBase = "normal",
        tail: str = "base",
        objective: str = "tempered",
        n_transforms: int | str = "auto",
        hidden_layer_sizes: int | Sequence[int] = (64, 64),
        activation: str = "auto",
        dropout: float | str = "auto",
        log_det: str = "lu",
        scale_clamp: float | None = SCALE_CLAMP,
        lipschitz_penalty: float = 0.0,
        learning_rate_init: float = 6e-3,
        batch_size: int | str = "auto",
        max_iter: int | str = "auto",
        fine_tune: int = 0,
        max_time: float | None = None,
        validation_fraction: float | None = 0.1,
        n_iter_no_change: int = 2,
        tol: float = 1e-4,
        dequantize: ArrayLike = "auto",
        bounds: Bounded = None,
        warm_start: bool = False,
        checkpoint: str | os.PathLike[str] | None = None,
        device: str | torch.device = "cpu",
        random_state: RandomState = None,
        verbose: int = 0,
    ) -> None:
        self.n_estimators = n_estimators
        self.flow = flow
        self.init = init
        self.base = base
        self.tail = tail
        self.objective = objective
        self.n_transforms = n_transforms
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.dropout = dropout
        self.log_det = log_det
        self.scale_clamp = scale_clamp
        self.lipschitz_penalty = lipschitz_penalty
        self.learning_rate_init = learning_rate_init
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.fine_tune = fine_tune
        self.max_time = max_time
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.dequantize = dequantize
        self.bounds = bounds
        self.warm_start = warm_start
        self.checkpoint = checkpoint
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

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
        """Fit the mixture round by round.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training rows.

        y : None
            Ignored, present for the scikit-learn interface.

        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows. A row of weight 0 counts as absent; a common factor changes
            nothing.

        X_val : array-like of shape (n_val_samples, n_features), default=None
            Held-out rows of your own. With them, no training rows are set aside.

        sample_weight_val : array-like of shape (n_val_samples,), default=None
            Weights of the held-out rows.

        resume_from : str, path-like or None, default=None
            File that an interrupted fit with `checkpoint` left. With the same rows and parameters
            the fit ends as if it had not been interrupted, bit for bit unless `max_time` is set.
            `n_estimators`, and other parameters that finished rounds do not depend on, may be
            others: the fit then goes on from the rounds that there are.

        X_reference : array-like of shape (n_reference_samples, n_features), default=None
            Rows by which the treatment of repeated values and the scales of constant columns are
            chosen; None takes X. Densities of parts of a table are compared in the same units if
            each is fitted with the whole table here.

        Returns
        -------
        self : GradientBoostedFlowDensity

        Raises
        ------
        ValueError, TypeError
            If a parameter is out of its range, or X, the weights or the file to resume from are
            not what is described above. The estimator is then as it was before.

        Warns
        -----
        DegenerateDataWarning
            If a column is constant or a linear function of others; if one value holds a twentieth
            of its rows or more, or lies far from all others, and `dequantize` does not say what to
            do about it; or if many distinct values are one in the units of training.

        sklearn.exceptions.ConvergenceWarning
            If many training steps had a loss that was not finite.
        """
        before = self.__dict__.copy()
        start, boosting, table = time.perf_counter(), None, None
        try:
            check_density_parameters(self)
            check_path("resume_from", resume_from)
            resumed = resume_from is not None
            if resume_from is not None:
                self._adopt(load(resume_from))
            if self.checkpoint is not None:
                self._check_savable()
                check_file_can_be_made("checkpoint", self.checkpoint)
            given = X, sample_weight, X_val, sample_weight_val, X_reference
            proceed = resumed or (self.warm_start and hasattr(self, "estimators_"))
            if not proceed:
                self._seed = seed_from(self.random_state)
            seconds = self.max_time or math.inf
            progress = make_progress(self.verbose, self.n_estimators, seconds)
            progress.read()
            table = prepare(self, *given, self._seed, proceed)
            n_done = self.n_estimators_ if proceed else 0
            boosting = start_rounds(self, table, self._seed, proceed, progress)
            if resumed:
                check_resumed(self, boosting, table)
            keep = partial(self._keep, boosting, table)
            rounds = Rounds(self, boosting, table, progress, start + seconds, keep)
            with progress, training_mode(fit_device(self.device)):
                rounds.run(n_least=0 if resumed else n_done)
            self._publish(boosting, table)
        except BaseException as error:
            self._recover(error, boosting, table, before)
            raise
        return self

    def score_samples(self, X: ArrayLike) -> np.ndarray | Any:
        """Log-density of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            A memory map may be larger than memory. A dask array is scored lazily, block by block.

        Returns
        -------
        log_density : ndarray, or dask array if X is one, of shape (n_samples,)
            In nats, with respect to the units of X; float32 if X is, otherwise float64. Finite,
            but -inf for rows outside `bounds`.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.

        ValueError
            If X is not a finite numeric table with the columns seen in fit.
        """
        check_is_fitted(self)
        if is_lazy(X):
            return score_lazily(self, X)
        return log_densities(self, X, lambda mixture, Z: mixture.log_prob(Z)[None])[0]

    def staged_score_samples(self, X: ArrayLike) -> Iterator[np.ndarray]:
        """Log-density of each row after each round.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Yields
        ------
        log_density : ndarray of shape (n_samples,)
            In nats, under the mixture of the first round, of the first two, and so on; the last
            is what :meth:`score_samples` returns.
        """
        check_is_fitted(self)
        yield from log_densities(
            self, X, lambda mixture, Z: torch.stack([*mixture.staged_log_prob(Z)])
        )

    def score(
        self, X: ArrayLike, y: object = None, sample_weight: ArrayLike | None = None
    ) -> float:
        """Weighted mean log-density of the rows.

        :class:`~sklearn.mixture.GaussianMixture` also returns the mean;
        :class:`~sklearn.neighbors.KernelDensity` returns the sum.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        y : None
            Ignored, present for the scikit-learn interface.

        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        score : float
            In nats per row; higher is better. -inf if a row of positive weight lies outside
            `bounds`.
        """
        scores = np.asarray(self.score_samples(X), dtype=np.float64)
        weights = check_weights(sample_weight, len(scores))
        # A row of weight 0 counts as absent, also where it has no density.
        counted = weights > 0
        return float(np.average(scores[counted], weights=weights[counted]))

    def sample(self, n_samples: int = 1, random_state: RandomState = None) -> np.ndarray:
        """Draw rows from the fitted density, as an array; :meth:`sample_frame` gives a frame.

        Parameters
        ----------
        n_samples : int, default=1

        random_state : int, RandomState instance or None, default=None
            The constructor's `random_state` governs :meth:`fit` alone.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            In the units of the training rows, float64, in random order.
        """
        check_is_fitted(self)
        check_integer("n_samples", n_samples, 1)
        mixture = fitted_mixture(self, np.dtype(np.float64))
        Z = mixture.sample(int(n_samples), seed_from(random_state))
        return self.coordinates_.inverse_transform(Z.cpu().numpy())

    def sample_frame(self, n_samples: int = 1, random_state: RandomState = None) -> Any:
        """Draw rows as a data frame like the one seen in fit.

        Columns of integers and booleans are rounded, columns that noise was added to are moved
        to the nearest of the values that lie on their grid, and floating-point columns keep their
        precision.

        Parameters
        ----------
        n_samples : int, default=1

        random_state : int, RandomState instance or None, default=None

        Returns
        -------
        frame : pandas.DataFrame, polars.DataFrame or pyarrow.Table of shape (n_samples, n_features)
            Of the library, names and types seen in fit; of pandas also with the index of its
            columns. If that was an array, a frame of pandas with columns "x0", "x1" and so on in
            the type of the array.

        Raises
        ------
        ImportError
            If the library is not installed.

        Examples
        --------
        >>> import pandas as pd
        >>> from sklearn.datasets import load_wine
        >>> from skgbnf import GradientBoostedFlowDensity
        >>> X = load_wine(as_frame=True).data[["alcohol", "proline"]].astype({"proline": int})
        >>> model = GradientBoostedFlowDensity(flow="affine", dequantize=True).fit(X)
        >>> model.sample_frame(2, random_state=0).dtypes.astype(str).tolist()
        ['float64', 'int64']
        """
        rows = self.sample(n_samples, random_state)
        rows = self.coordinates_.noise.snap(rows, self.bounds_, integer_columns(self.dtypes_))
        return make_frame(rows, self._description)

    def _keep(self, boosting: Boosting, table: Table) -> None:
        """Save the rounds so far, if there is to be a checkpoint."""
        if self.checkpoint is not None:
            self._publish(boosting, table)
            save(self, self.checkpoint)

    def _recover(
        self,
        error: BaseException,
        boosting: Boosting | None,
        table: Table | None,
        before: dict[str, Any],
    ) -> None:
        """After Ctrl-C keep the finished rounds; otherwise go back to the state before `fit`."""
        if isinstance(error, KeyboardInterrupt) and boosting and table and boosting.stages:
            try:
                if self.fine_tune:
                    boosting.refit_stages()
                self._publish(boosting, table)
                return
            except BaseException:
                self.__dict__ = before
                raise
        self.__dict__ = before
