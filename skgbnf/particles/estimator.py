"""The density of configurations of scikit-learn's kind."""

from collections.abc import Sequence
from typing import Self

import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, DensityMixin

from skgbnf._fitting import unchanged_on_failure
from skgbnf._random import RandomState
from skgbnf.particles.answers import ParticleAnswers
from skgbnf.particles.fitting import fit_particles
from skgbnf.particles.saving import PersistentParticles
from skgbnf.persistence import persistent


@persistent
class EquivariantFlowDensity(PersistentParticles, ParticleAnswers, DensityMixin, BaseEstimator):
    r"""Density of configurations of particles, the same however they are moved or numbered.

    A sample is a set of n points in d dimensions. Its density does not change when all points are
    moved, turned or reflected, or when points of one type change their numbers. It is a mixture

    .. math:: G(x) = \sum_c \rho_c \, g_c(x),

    that grows by rounds, by one of two methods. With few particles ("frames") each sample is
    described in a frame that its own particles give, :class:`GradientBoostedFlowDensity` learns the
    density of these coordinates, and the mean over all numberings and reflections is taken, which
    is exact. With more ("flow") components are continuous flows [1]_: noise moves along a velocity
    field that turns and renumbers with it [2]_. A round learns the straight paths from noise to
    samples, noise being turned and renumbered to lie near its sample [3]_ [4]_, and then maximises
    the likelihood.

    Parameters
    ----------
    What most fits set:

    n_particles : int or None, default=None
        Number of particles, at least 2. None to take it from X, if that has the shape
        (n_samples, n_particles, n_dims) or `n_dims` is given.

    n_dims : int or None, default=None
        Number of dimensions of space. None to take it from X.

    types : sequence of int or str of length n_particles, or None, default=None
        Type of each particle, such as an element; particles of different types do not change
        numbers. None if all are of one type.

    method : {"auto", "frames", "flow"}, default="auto"
        "auto" is "frames" where there are up to 24 ways to renumber particles within their types,
        as with four particles of one type, and "flow" with more. "frames" is possible up to 720.

    n_estimators : int or "auto", default="auto"
        Maximum number of rounds; "auto" is 6 with frames, 2 with flows. Fewer are kept if the
        validation score stops improving.

    max_time : float or None, default=None
        Time limit for `fit`, in seconds; None for no limit. `fit` ends at the next safe point with
        the best density so far. Flows then maximise the likelihood of as many samples as there is
        time to score, at least 1,000.

    random_state : int, RandomState instance or None, default=None
        Seed of `fit`: the same integer gives the same density on one machine.

    verbose : int, default=0
        0 prints nothing. 1 shows progress bars of rounds and epochs on a terminal with tqdm, and
        otherwise prints a line per round. 2 also prints a line for each epoch.

    The flows, where the method is "flow":

    hidden_layer_sizes : int or tuple of int, default=(32, 32)
        Widths of the network that gives the factor of each pair of particles.

    n_basis : int, default=16
        Number of Gaussian functions of the distance that networks see.

    objective : {"tempered", "weighted"}, default="tempered"
        Objective of the rounds after the first; see :class:`GradientBoostedFlowDensity`.

    learning_rate_init : float, default=0.005
        Learning rate of the optimiser while paths are learned, two fifths of it while the
        likelihood is maximised; both decay along half a cosine.

    batch_size : int or "auto", default="auto"
        Samples per training step while paths are learned, half as many while the likelihood is
        maximised; "auto" is 256, with more than 20 pairs of particles as many as have 5,000 pairs,
        at least 32.

    max_iter : int, default=8
        Maximum number of epochs of 250 steps in which a round learns paths.

    likelihood_max_iter : int, default=20
        Maximum number of epochs of 20 steps in which a round maximises the likelihood; a step takes
        as long as about 20 of those before. 0 to leave this out.

    solver_tol : float, default=0.001
        Mean error of log-densities that the solver may make, in nats: its steps are doubled until
        it is reached on the validation set. `solver_errors_` tells what was reached.

    When to stop:

    fine_tune : int, default=0
        Passes after the last round in which each component is retrained with the others fixed.

    validation_fraction : float or None, default=0.1
        Fraction of the samples set aside as validation set; at least 10 samples, at most a third of
        them, and at most 250 with flows. With frames and fewer than 2,000 samples there are folds
        in its place; see :class:`GradientBoostedFlowDensity`. None or 0 uses the training samples
        for this. Ignored if `fit` is given `X_val`.

    n_iter_no_change : int, default=2
        Rounds without a gain of `tol` after which boosting stops.

    tol : float, default=1e-4
        Smallest gain in mean log-likelihood that counts, in nats.

    Where to compute:

    device : {"cpu", "cuda", "auto"} or torch.device, default="cpu"
        Device to compute on; "auto" is a GPU if there is one.

    Attributes
    ----------
    n_features_in_ : int
        Number of coordinates, `n_particles` * `n_dims`.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, if X had string names for all of them.

    fitted_ : FittedParticles
        All that `fit` found; the other attributes, properties below, are read from it.

    See Also
    --------
    GradientBoostedFlowDensity : Density of a table, without symmetries.
    fit_to_log_prob : Density fitted to a log-density, without samples.

    Notes
    -----
    The centre of a configuration says nothing, and a density that did not depend on it could not
    have the integral 1. So log-densities are those of the centred configuration, with respect to
    length, area or volume in the subspace of centred configurations, which has
    :math:`(n - 1) d` dimensions: its coordinates are any orthonormal ones. The density of the
    positions of n - 1 particles relative to the last one is :math:`n^{-d/2}` times as large,
    relative to the centre :math:`n^{d/2}` times. With an energy U at temperature 1 the logarithm of
    the Boltzmann density in this space is :math:`-U(x) - \log Z`, Z the integral over it.

    A reflection turns a molecule into its mirror image, which has the same density here.

    References
    ----------
    .. [1] Neural Ordinary Differential Equations. R. T. Q. Chen, Y. Rubanova, J. Bettencourt,
       D. Duvenaud, 2018. https://arxiv.org/abs/1806.07366
    .. [2] E(n) Equivariant Normalizing Flows. V. G. Satorras, E. Hoogeboom, F. B. Fuchs, I. Posner,
       M. Welling, 2021. https://arxiv.org/abs/2105.09016
    .. [3] Flow Matching for Generative Modeling. Y. Lipman, R. T. Q. Chen, H. Ben-Hamu, M. Nickel,
       M. Le, 2023. https://arxiv.org/abs/2210.02747
    .. [4] Equivariant flow matching. L. Klein, A. Krämer, F. Noé, 2023.
       https://arxiv.org/abs/2306.15030

    Examples
    --------
    >>> import numpy as np
    >>> from skgbnf import EquivariantFlowDensity
    >>> X = np.random.default_rng(0).normal(size=(200, 3, 2))
    >>> model = EquivariantFlowDensity(
    ...     method="flow", n_estimators=1, max_iter=2, likelihood_max_iter=0, random_state=0
    ... ).fit(X)
    >>> turned, renumbered = X[:, :, ::-1] + 5.0, X[:, [2, 0, 1]]
    >>> np.allclose(model.score_samples(X), model.score_samples(turned))
    True
    >>> np.allclose(model.score_samples(X), model.score_samples(renumbered))
    True
    >>> model.sample(4, random_state=0).shape
    (4, 3, 2)
    """

    __module__ = "skgbnf"  # the path in pickles, which stays wherever the class moves

    def __init__(
        self,
        n_particles: int | None = None,
        n_dims: int | None = None,
        *,
        types: Sequence[int | str] | None = None,
        method: str = "auto",
        n_estimators: int | str = "auto",
        max_time: float | None = None,
        random_state: RandomState = None,
        verbose: int = 0,
        hidden_layer_sizes: int | Sequence[int] = (32, 32),
        n_basis: int = 16,
        objective: str = "tempered",
        learning_rate_init: float = 5e-3,
        batch_size: int | str = "auto",
        max_iter: int = 8,
        likelihood_max_iter: int = 20,
        solver_tol: float = 1e-3,
        fine_tune: int = 0,
        validation_fraction: float | None = 0.1,
        n_iter_no_change: int = 2,
        tol: float = 1e-4,
        device: str | torch.device = "cpu",
    ) -> None:
        self.n_particles = n_particles
        self.n_dims = n_dims
        self.types = types
        self.method = method
        self.n_estimators = n_estimators
        self.max_time = max_time
        self.random_state = random_state
        self.verbose = verbose
        self.hidden_layer_sizes = hidden_layer_sizes
        self.n_basis = n_basis
        self.objective = objective
        self.learning_rate_init = learning_rate_init
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.likelihood_max_iter = likelihood_max_iter
        self.solver_tol = solver_tol
        self.fine_tune = fine_tune
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.device = device

    def fit(self, X: ArrayLike, y: object = None, X_val: ArrayLike | None = None) -> Self:
        """Fit the density to configurations, round by round.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_particles * n_dims) or \
                (n_samples, n_particles, n_dims)
            Training samples: the coordinates of each, particle by particle. They need not be
            centred.

        y : None
            Ignored, present for the scikit-learn interface.

        X_val : array-like of shape (n_val_samples, ...), default=None
            Validation set. With one, no training samples are set aside.

        Returns
        -------
        self : EquivariantFlowDensity

        Raises
        ------
        ValueError, TypeError
            If a parameter is out of its range; if X does not hold `n_particles` particles in
            `n_dims` dimensions, or values that are not finite; or if two particles of a sample
            coincide. The estimator is then unchanged.

        Warns
        -----
        sklearn.exceptions.ConvergenceWarning
            If the loss was not finite in many training steps.
        """
        with unchanged_on_failure(self):
            interrupt = fit_particles(self, X, X_val)
        if interrupt is not None:
            raise interrupt
        return self
