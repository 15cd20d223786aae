"""The density estimator: validate, standardise, boost, answer."""

import math
import time
from collections.abc import Callable

import numpy as np
import torch
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.utils.validation import check_array, check_is_fitted, validate_data
from threadpoolctl import threadpool_limits

from skgbnf._random import derive_seed
from skgbnf.boosting import Boosting
from skgbnf.dequantisation import Dequantisation
from skgbnf.geometric import GeometricBoosting, GeometricMixture
from skgbnf.mixture import FlowMixture
from skgbnf.objectives import GEOMETRIC
from skgbnf.persistence import FittedComponent, load, persistent, save
from skgbnf.plan import first_families, ladders, training_settings
from skgbnf.standardisation import Standardisation
from skgbnf.state import MixtureState
from skgbnf.training import Rows
from skgbnf.validation import (
    check_density_parameters,
    check_dequantize,
    check_integer,
    check_weights,
    fit_device,
    rounded,
    score_device,
    seed_from,
)

_MIN_HELD_OUT = 10
_SPLIT_KEY, _NOISE_KEY, _HELD_OUT_NOISE_KEY = 0, 3, 4
_DTYPES = [np.float64, np.float32]
_ROWS_PER_SCORE = 200_000


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

        - "auto": "nsf"; on fewer than 2,000 training rows, each round takes the best of "nsf",
          "maf" and "gaussian_mixture". The first rounds follow `init`.
        - "nsf": autoregressive rational-quadratic splines; "nsf_coupling": the same in coupling
          layers, faster to sample in many columns.
        - "maf", "realnvp": affine maps, autoregressive and coupling.
        - "affine": one full-covariance Gaussian.
        - "gaussian_mixture": Gaussians fitted by EM, their number chosen on held-out rows.
        - "student_t": one multivariate Student t of three degrees of freedom, fitted by EM.
        - a callable ``n_features -> zuko.flows.Flow``, to be trained on standardised rows.

        From a list each round takes what does best on held-out rows, networks after a trial of
        a twentieth of the epochs. In the same way each round decides whether a flow governed by
        networks begins with a spline for each column.

    init : str, list of str or None, default="auto"
        Families of the first rounds, a round each, to which those of `flow` add; as many of them,
        from the last, as leave a round for `flow`. "auto": if `flow` is "auto", "student_t" and
        "gaussian_mixture", otherwise none. A Student t takes the rows that lie far from all
        others, and the mixture of Gaussians keeps the density from falling behind one on held-out
        rows; EM may take a tenth of `max_time` for each.

    base : {"normal", "student_t"}, default="normal"
        What flows map the rows onto. "student_t" has heavy tails, their weight learned for each
        column.

    objective : {"tempered", "greedy", "weighted", "geometric"}, default="tempered"
        What rounds after the first maximise. "greedy": the exact likelihood of the mixture, as a
        function of the new component. "tempered": at first the component's own likelihood, then
        ever more that of the mixture; held-out rows decide where to stop. "weighted": the
        component's own likelihood on rows weighted by the inverse of the present density, as in
        [1]_. Components fitted by EM take "tempered" for "greedy". "geometric": the density is the
        product of powers of the components over its integral, the multiplicative mixture of
        [1]_. The integral is known within `log_normalizer_error_`, samples are exact, and
        `fine_tune` must be 0.

    n_transforms : int, default=3
        Layers of each flow.

    hidden_layer_sizes : tuple of int, default=(64, 64)
        Widths of the networks in each layer.

    activation : {"relu", "tanh", "elu", "silu"}, default="relu"
        Non-linearity of the networks.

    learning_rate_init : float, default=0.006
        Learning rate of Adam at the start of a round; it falls along half a cosine.

    batch_size : int or "auto", default="auto"
        Rows per training step; "auto" takes 256, fewer on small tables.

    max_iter : int or "auto", default="auto"
        Largest number of epochs a round; "auto" takes more on small tables, which make few
        steps an epoch. Families fitted by EM have a limit of their own.

    fine_tune : int, default=0
        Passes after the last round in which each component is retrained against all the others.
        Gaussians are also tried in other places, and all of them settled together by EM.

    max_time : float or None, default=None
        Seconds of wall time after which `fit` ends at the next safe point, with the best model
        so far. The learning rate of a round falls with the time where that would run out before
        the epochs. None sets no limit; with a limit, the model depends on how fast the machine
        is.

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
        Uniform noise that `fit` adds to columns whose values repeat, centred on the values and as
        wide as the step between them, so that there is a density: at a value it is the
        probability of the value over the step. "auto" adds it, with a warning, where one value
        holds a twentieth of the rows or more; True wherever a value repeats; False nowhere. A
        number is the width for all columns, an array that of each, in units of X. Where values
        repeat amid others that lie on no grid, these alone are spread, over a twentieth of the
        standard deviation.

    warm_start : bool, default=False
        Whether `fit` adds rounds to those already fitted, up to `n_estimators`, and leaves the
        earlier components as they are.

    checkpoint : str, path-like or None, default=None
        File to which the rounds fitted so far are saved after each. :func:`skgbnf.load` opens it,
        and `fit` goes on from it with `resume_from`.

    device : {"cpu", "cuda", "auto"}, default="cpu"
        Where to compute; "auto" takes a GPU if there is one. Results are NumPy arrays always.

    random_state : int, RandomState instance or None, default=None
        Governs `fit`: the same integer gives the same model, bit for bit, on one machine.

    verbose : int, default=0
        Whether to print a line for each round.

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

    dequantize_widths_ : ndarray of shape (`n_features_in_`,)
        Widths of the noise that was added, in units of X; 0 where there was none.

    location_, scale_ : ndarrays of shape (`n_features_in_`,)
        Mean and standard deviation by which rows are standardised, in units of X.

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
    """

    def __init__(
        self,
        n_estimators=6,
        *,
        flow="auto",
        init="auto",
        base="normal",
        objective="tempered",
        n_transforms=3,
        hidden_layer_sizes=(64, 64),
        activation="relu",
        learning_rate_init=6e-3,
        batch_size="auto",
        max_iter="auto",
        fine_tune=0,
        max_time=None,
        validation_fraction=0.1,
        n_iter_no_change=2,
        tol=1e-4,
        dequantize="auto",
        warm_start=False,
        checkpoint=None,
        device="cpu",
        random_state=None,
        verbose=0,
    ):
        self.n_estimators = n_estimators
        self.flow = flow
        self.init = init
        self.base = base
        self.objective = objective
        self.n_transforms = n_transforms
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.learning_rate_init = learning_rate_init
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.fine_tune = fine_tune
        self.max_time = max_time
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.dequantize = dequantize
        self.warm_start = warm_start
        self.checkpoint = checkpoint
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(
        self,
        X,
        y=None,
        sample_weight=None,
        X_val=None,
        sample_weight_val=None,
        resume_from=None,
    ):
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
            `n_estimators` and what else the finished rounds do not depend on may differ.

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
            If a column is constant, or one value holds a twentieth of its rows or more and
            `dequantize` does not say what to do about it.

        sklearn.exceptions.ConvergenceWarning
            If many training steps had a loss that was not finite.
        """
        before = self.__dict__.copy()
        start, boosting = time.perf_counter(), None
        try:
            check_density_parameters(self)
            resumed = resume_from is not None
            if resumed:
                self._adopt(load(resume_from))
            if self.checkpoint is not None:
                self._check_savable()
            given = X, sample_weight, X_val, sample_weight_val
            proceed = resumed or (self.warm_start and hasattr(self, "estimators_"))
            train, judge = self._check_rows(*given, proceed)
            boosting = self._start(train, judge, proceed)
            if resumed:
                self._check_resumed(boosting)
            # The tensors of a training step are small: more threads cost more than they give,
            # many times more where the machine is busy.
            limits = threadpool_limits(limits=1, user_api="openmp")
            with limits, torch.inference_mode(False), torch.enable_grad():
                finished = resumed and self._has_stopped(boosting)
                self._boost(boosting, start + (self.max_time or math.inf), finished)
            self._publish(boosting)
        except BaseException as error:
            self._recover(error, boosting, before)
            raise
        return self

    def score_samples(self, X):
        """Log-density of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        log_density : ndarray of shape (n_samples,)
            In nats, with respect to the units of X; float32 if X is, otherwise float64.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.

        ValueError
            If X is not a finite numeric table with the columns seen in fit.
        """
        return self._chunked(X, lambda mixture, Z: mixture.log_prob(Z)[None])[0]

    def staged_score_samples(self, X):
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
        yield from self._chunked(X, lambda mixture, Z: torch.stack([*mixture.staged_log_prob(Z)]))

    def score(self, X, y=None, sample_weight=None):
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
            In nats per row; higher is better.
        """
        scores = self.score_samples(X)
        weights = check_weights(sample_weight, len(scores))
        return float(np.average(scores.astype(np.float64), weights=weights))

    def sample(self, n_samples=1, random_state=None):
        """Draw rows from the fitted density.

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
        Z = self._mixture(np.float64).sample(int(n_samples), seed_from(random_state))
        return self._standardisation().inverse_transform(Z.cpu().numpy())

    def _check_rows(
        self, X, sample_weight, X_val, sample_weight_val, proceed: bool
    ) -> tuple[Rows, Rows]:
        """Validate everything that fit is given; return rows to learn from and to judge by."""
        device = fit_device(self.device)
        X = validate_data(self, X, dtype=_DTYPES, ensure_min_samples=2, reset=not proceed)
        weights = rounded(check_weights(sample_weight, len(X)))
        X, weights = X[weights > 0], weights[weights > 0]
        if len(X) < 2:
            raise ValueError("sample_weight must be positive for at least two rows, got one.")
        if not proceed:
            self._seed = seed_from(self.random_state)
        noise = self._dequantisation(X)
        X = noise.apply(X, derive_seed(self._seed, _NOISE_KEY))
        if X_val is None:
            if sample_weight_val is not None:
                raise ValueError("sample_weight_val was given without X_val.")
            X, weights, X_val, weights_val = self._split(X, weights)
        else:
            check_array(X_val, dtype=_DTYPES, input_name="X_val")
            X_val = self._check_X(X_val)
            weights_val = check_weights(sample_weight_val, len(X_val), "sample_weight_val")
            weights_val = rounded(weights_val)
            X_val, weights_val = X_val[weights_val > 0], weights_val[weights_val > 0]
            X_val = noise.apply(X_val, derive_seed(self._seed, _HELD_OUT_NOISE_KEY))
        if not proceed:
            standardisation = Standardisation.from_rows(X, weights)
            self.location_, self.scale_ = standardisation.location, standardisation.scale
        train = self._rows(X, weights, device)
        return train, self._rows(X_val, weights_val, device) if len(X_val) else train

    def _check_X(self, X) -> np.ndarray:
        return validate_data(self, X, dtype=_DTYPES, reset=False)

    def _split(self, X, weights) -> tuple[np.ndarray, ...]:
        """Set rows aside at random; none if there are too few."""
        fraction = self.validation_fraction or 0.0
        n_held_out = min(max(round(fraction * len(X)), _MIN_HELD_OUT), len(X) // 3)
        if not fraction:
            n_held_out = 0
        rng = np.random.default_rng(derive_seed(self._seed, _SPLIT_KEY))
        order = rng.permutation(len(X))
        held_out, kept = order[:n_held_out], order[n_held_out:]
        return X[kept], weights[kept], X[held_out], weights[held_out]

    def _dequantisation(self, X) -> Dequantisation:
        """Noise for columns that have no density; those without it are warned of."""
        check_dequantize(self.dequantize, X.shape[1])
        names = getattr(self, "feature_names_in_", np.arange(X.shape[1])).tolist()
        noise = Dequantisation.from_rows(X, self.dequantize, names)
        self.dequantize_widths_ = noise.widths
        return noise

    def _standardisation(self) -> Standardisation:
        return Standardisation(self.location_, self.scale_)

    def _rows(self, X, weights, device) -> Rows:
        Z = torch.from_numpy(self._standardisation().transform(X)).to(device)
        shares = weights / weights.mean()
        return Rows(Z, torch.from_numpy(shares).to(device))

    def _start(self, train: Rows, judge: Rows, proceed: bool) -> Boosting:
        """A boosting that has no round yet, or those of the fit that is to proceed."""
        settings = training_settings(self, len(train.x))
        kind = GeometricBoosting if self.objective == GEOMETRIC else Boosting
        boosting = kind(train, judge, self.objective, settings, self._seed)
        if proceed:
            if self.n_estimators < self.n_estimators_:
                raise ValueError(
                    f"n_estimators={self.n_estimators} is below the {self.n_estimators_} rounds "
                    "already fitted; it can only grow."
                )
            earlier = zip(self.estimators_, self.n_iter_, self.gains_, strict=True)
            for fitted, n_iter, gain in earlier:
                module = fitted.to_module(fitted.dtype, train.x.device)
                boosting.append(fitted.architecture, module, int(n_iter), float(gain))
        return boosting

    def _check_resumed(self, boosting: Boosting) -> None:
        """Raise unless the rounds of a file score the rows of this fit as they did before."""
        scores = [s.train_score + self._standardisation().log_det for s in boosting.stages]
        # Rounding differs from machine to machine.
        if not np.allclose(scores, self.train_scores_, rtol=1e-6, atol=1e-6):
            raise ValueError(
                "resume_from: the rounds in the file were fitted to other rows or weights."
            )

    def _boost(self, boosting: Boosting, deadline: float, finished: bool) -> None:
        """Add rounds until enough, or until held-out rows no longer gain; fine-tune."""
        while len(boosting.stages) < self.n_estimators and not finished:
            start = time.perf_counter()
            if boosting.stages and start >= deadline:
                break
            n_rounds = len(boosting.stages)
            offered, share = ladders(self, n_rounds, len(boosting.train.x))
            boosting.add_round(offered, share * (deadline - start))
            if self.checkpoint is not None:
                self._publish(boosting)
                save(self, self.checkpoint)
            self._report(boosting, time.perf_counter() - start)
            finished = self._has_stopped(boosting)
        if boosting.judge is not boosting.train:
            boosting.truncate(boosting.best_round(self.tol))
        for _ in range(self.fine_tune):
            boosting.fine_tune(deadline - time.perf_counter())

    def _has_stopped(self, boosting: Boosting) -> bool:
        """Whether held-out rows no longer gain, once `flow` had a round."""
        if len(boosting.stages) <= len(first_families(self)):
            return False
        n_stale = len(boosting.stages) - boosting.best_round(self.tol)
        stopped = boosting.gains[-1] <= self.tol or n_stale >= self.n_iter_no_change
        return stopped and boosting.judge is not boosting.train

    def _recover(self, error: BaseException, boosting: Boosting | None, before: dict) -> None:
        """After Ctrl-C keep the finished rounds; otherwise go back to the state before `fit`."""
        if isinstance(error, KeyboardInterrupt) and boosting is not None and boosting.stages:
            try:
                if self.fine_tune:
                    boosting.refit_stages()
                self._publish(boosting)
                return
            except BaseException:
                self.__dict__ = before
                raise
        self.__dict__ = before

    def _report(self, boosting: Boosting, seconds: float) -> None:
        if self.verbose:
            stage, log_det = boosting.stages[-1], self._standardisation().log_det
            scores = f"train {stage.train_score + log_det:.4f}"
            if boosting.judge is not boosting.train:
                scores += f", held-out {stage.judge_score + log_det:.4f}"
            print(
                f"[skgbnf] round {len(boosting.stages)}/{self.n_estimators}: {scores} nats, "
                f"{boosting.n_iter[-1]} iterations, {seconds:.1f} s"
            )

    def _publish(self, boosting: Boosting) -> None:
        """Turn the finished rounds into fitted attributes."""
        boosting.truncate(len(boosting.stages))
        log_det, n_rounds = self._standardisation().log_det, len(boosting.stages)
        self.estimators_ = [
            FittedComponent.from_module(*pair)
            for pair in zip(boosting.architectures, boosting.components, strict=True)
        ]
        self.staged_weights_ = np.zeros((n_rounds, n_rounds))
        for i, stage in enumerate(boosting.stages):
            self.staged_weights_[i, : i + 1] = stage.weights.cpu().numpy()
        self.estimator_weights_ = self.staged_weights_[-1].copy()
        self.n_estimators_ = n_rounds
        self.n_iter_ = np.array(boosting.n_iter)
        self.gains_ = np.array(boosting.gains)
        self.train_scores_ = log_det + np.array([s.train_score for s in boosting.stages])
        self.staged_log_normalizers_ = self.log_normalizer_error_ = None
        if isinstance(boosting, GeometricBoosting):
            self.staged_log_normalizers_ = np.array([s.log_normalizer for s in boosting.stages])
            self.log_normalizer_error_ = boosting.stages[-1].log_normalizer_error
        self.validation_scores_ = None
        if boosting.judge is not boosting.train:
            self.validation_scores_ = log_det + np.array([s.judge_score for s in boosting.stages])

    def _mixture(self, dtype) -> FlowMixture:
        """The fitted mixture over standardised rows, as modules of the given precision."""
        dtype = torch.from_numpy(np.empty(0, dtype)).dtype
        device = score_device(self.device)
        components = [fitted.to_module(dtype, device) for fitted in self.estimators_]
        weights = torch.from_numpy(self.staged_weights_).to(device, dtype)
        if self.staged_log_normalizers_ is None:
            return FlowMixture(components, weights)
        log_normalizers = torch.from_numpy(self.staged_log_normalizers_).to(device, dtype)
        return GeometricMixture(components, weights, log_normalizers)

    def _chunked(self, X, evaluate: Callable) -> np.ndarray:
        """Log-densities of shape (n_stages, n_samples), by chunks of rows, without gradients."""
        check_is_fitted(self)
        X = self._check_X(X)
        mixture, standardisation = self._mixture(X.dtype), self._standardisation()
        chunks = []
        with torch.no_grad():
            for start in range(0, len(X), _ROWS_PER_SCORE):
                Z = standardisation.transform(X[start : start + _ROWS_PER_SCORE], X.dtype)
                Z = torch.from_numpy(Z).to(score_device(self.device))
                chunks.append(evaluate(mixture, Z).cpu().numpy())
        log_det = X.dtype.type(standardisation.log_det)
        return np.concatenate(chunks, axis=1) + log_det
