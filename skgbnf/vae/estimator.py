"""The autoencoder of scikit-learn's kind."""

import os
from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags

from skgbnf._fitting import unchanged_on_failure
from skgbnf._random import RandomState
from skgbnf.persistence import persistent
from skgbnf.vae.answers import AutoencoderAnswers
from skgbnf.vae.attributes import AutoencoderAttributes
from skgbnf.vae.fitting import fit_autoencoder
from skgbnf.vae.saving import PersistentAutoencoder


@persistent
class GradientBoostedFlowVAE(
    PersistentAutoencoder,
    AutoencoderAnswers,
    AutoencoderAttributes,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    BaseEstimator,
):
    r"""Variational autoencoder for images, with a boosted mixture of flows as its posterior.

    A decoder turns a latent vector z, standard normal, into a distribution over pixels. The
    posterior of z given an image x is approximated by a mixture that grows by rounds,

    .. math:: q(z|x) = \sum_c \rho_c \, g_c(z|x),

    whose components are flows that depend on the image through an encoder. The density of the
    mixture is exact.

    Parameters
    ----------
    What most fits set:

    n_components : int, default=2
        Dimension of the latent space.

    n_estimators : int, default=4
        Maximum number of components of the posterior. Fewer are kept if the validation score stops
        improving.

    max_time : float or None, default=None
        Time limit for `fit`, in seconds; None for no limit. `fit` ends at the next safe point with
        the best model so far.

    likelihood : {"gaussian", "bernoulli", "discretized_logistic"}, default="gaussian"
        Distribution of a pixel: "gaussian" for real numbers, which are standardised inside,
        "bernoulli" for numbers from 0 to 1, "discretized_logistic" for the levels 0, 1, ...,
        `n_levels` - 1.

    n_levels : int, default=256
        Number of levels of a pixel for "discretized_logistic"; not used by other likelihoods.

    random_state : int, RandomState instance or None, default=None
        Seed of `fit`: the same integer gives the same model on one machine.

    verbose : int, default=0
        0 prints nothing. 1 shows progress bars of rounds and epochs on a terminal with tqdm, and
        otherwise prints a line per round. 2 also prints a line for each epoch.

    The model:

    flow : {"realnvp", "glow", "nsf_coupling", "affine"}, default="realnvp"
        Family of the components: affine or spline coupling layers behind a diagonal Gaussian, or
        the Gaussian alone, which with ``n_estimators=1`` is the ordinary variational autoencoder.
        A family of your own serves if it is registered as invertible.

    n_transforms : int, default=2
        Coupling layers of each component.

    network : {"mlp", "conv"}, default="mlp"
        Encoder and decoder. "conv" has two convolutional layers before (in the decoder, behind) the
        hidden layers and needs X of shape (n_samples, height, width) or
        (n_samples, height, width, n_channels).

    hidden_layer_sizes : int or tuple of int, default=(300, 300)
        Widths of the hidden layers of the encoder; the decoder has them in reverse.

    flow_hidden_layer_sizes : int or tuple of int, default=(64,)
        Widths of the hidden layers of the networks in each coupling layer.

    activation : {"relu", "tanh", "elu", "silu"}, default="elu"
        Activation function of all networks.

    The training:

    objective : {"greedy", "gradient"}, default="greedy"
        Objective of the rounds after the first. "greedy": the lower bound of the whole mixture, as
        a function of the new component. "gradient": the functional gradient of the bound, as in
        [1]_.

    entropy_weight : float, default=1.0
        Factor of the log-densities in the objective of rounds after the first; above 1 makes new
        components broader.

    learning_rate_init : float, default=0.002
        Learning rate of Adam at the start of a round; it decays along half a cosine.

    batch_size : int, default=100
        Images per training step.

    max_iter : int, default=200
        Maximum number of epochs of a round.

    fine_tune : int, default=1
        Passes after the last round in which encoder, decoder and all components are trained
        together.

    When to stop:

    validation_fraction : float or None, default=0.1
        Fraction of the images set aside as validation set, which stops a round, fits the mixture
        weights and chooses the number of rounds; at least 10 images, at most a third of them. None
        or 0 uses the training images for this. Ignored if `fit` is given `X_val`.

    patience : int, default=40
        Epochs without gain after which a round ends.

    n_iter_no_change : int, default=1
        Rounds without a gain of `tol` after which boosting stops.

    tol : float, default=0.0
        Smallest gain in the mean lower bound that counts, in nats.

    Running and continuing:

    checkpoint : str, path-like or None, default=None
        File to which the model is saved after each round. :func:`skgbnf.load` opens it, and `fit`
        continues from it with `resume_from`.

    device : {"cpu", "cuda", "auto"} or torch.device, default="cpu"
        Device to compute on; "auto" is a GPU if there is one.

    Attributes
    ----------
    n_features_in_ : int
        Number of pixels times channels.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, if X had string names for all of them.

    fitted_ : FittedAutoencoder
        All that `fit` found; the other attributes, properties below, are read from it.

    See Also
    --------
    GradientBoostedFlowDensity : Density of a table without latent variables.
    sklearn.decomposition.PCA : Linear transformer with the same methods.

    References
    ----------
    .. [1] Gradient Boosted Normalizing Flows. R. Giaquinto, A. Banerjee, 2020.
       https://arxiv.org/abs/2002.11896
    .. [2] Auto-Encoding Variational Bayes. D. P. Kingma, M. Welling, 2013.
       https://arxiv.org/abs/1312.6114
    .. [3] Importance Weighted Autoencoders. Y. Burda, R. Grosse, R. Salakhutdinov, 2015.
       https://arxiv.org/abs/1509.00519

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skgbnf import GradientBoostedFlowVAE
    >>> X = load_digits().data[:500] / 16
    >>> vae = GradientBoostedFlowVAE(
    ...     n_estimators=2, likelihood="bernoulli", hidden_layer_sizes=(32,), max_iter=2,
    ...     random_state=0,
    ... ).fit(X)
    >>> vae.transform(X).shape
    (500, 2)
    >>> vae.sample(3, random_state=0).shape
    (3, 64)
    """

    __module__ = "skgbnf"  # the path in pickles, which stays wherever the class moves

    def __init__(
        self,
        n_components: int = 2,
        *,
        n_estimators: int = 4,
        max_time: float | None = None,
        likelihood: str = "gaussian",
        n_levels: int = 256,
        random_state: RandomState = None,
        verbose: int = 0,
        flow: str = "realnvp",
        n_transforms: int = 2,
        network: str = "mlp",
        hidden_layer_sizes: int | Sequence[int] = (300, 300),
        flow_hidden_layer_sizes: int | Sequence[int] = (64,),
        activation: str = "elu",
        objective: str = "greedy",
        entropy_weight: float = 1.0,
        learning_rate_init: float = 2e-3,
        batch_size: int = 100,
        max_iter: int = 200,
        fine_tune: int = 1,
        validation_fraction: float | None = 0.1,
        patience: int = 40,
        n_iter_no_change: int = 1,
        tol: float = 0.0,
        checkpoint: str | os.PathLike[str] | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        self.n_components = n_components
        self.n_estimators = n_estimators
        self.max_time = max_time
        self.likelihood = likelihood
        self.n_levels = n_levels
        self.random_state = random_state
        self.verbose = verbose
        self.flow = flow
        self.n_transforms = n_transforms
        self.network = network
        self.hidden_layer_sizes = hidden_layer_sizes
        self.flow_hidden_layer_sizes = flow_hidden_layer_sizes
        self.activation = activation
        self.objective = objective
        self.entropy_weight = entropy_weight
        self.learning_rate_init = learning_rate_init
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.fine_tune = fine_tune
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.checkpoint = checkpoint
        self.device = device

    def fit(
        self,
        X: ArrayLike,
        y: object = None,
        X_val: ArrayLike | None = None,
        resume_from: str | os.PathLike[str] | None = None,
    ) -> Self:
        """Train the networks and the posterior, round by round.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_pixels), (n_samples, height, width) or \
                (n_samples, height, width, n_channels)
            Training images.

        y : None
            Ignored, present for the scikit-learn interface.

        X_val : array-like of the same number of dimensions, default=None
            Validation images. With them, no training images are set aside.

        resume_from : str, path-like or None, default=None
            Checkpoint of an interrupted fit. With the same images and parameters the result is that
            of a fit without interruption, bit for bit unless `max_time` is set.

        Returns
        -------
        self : GradientBoostedFlowVAE

        Raises
        ------
        ValueError, TypeError
            If a parameter is out of its range, or X holds values that the likelihood does not
            describe. The estimator is then unchanged.
        """
        with unchanged_on_failure(self):
            interrupt = fit_autoencoder(self, X, X_val, resume_from)
        if interrupt is not None:
            raise interrupt
        return self

    def transform(self, X: ArrayLike) -> np.ndarray:
        """Posterior mean of each image.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Images.

        Returns
        -------
        Z : ndarray of shape (n_samples, n_components)
            float32 if X is, otherwise float64. Estimated from 64 draws of each component, in pairs
            of opposite noise, which is the same for every image and at every call.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.

        ValueError
            If X does not hold images like those of `fit`.
        """
        # Here, since scikit-learn wraps for set_output what a class itself defines.
        return self._posterior_means(X)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
