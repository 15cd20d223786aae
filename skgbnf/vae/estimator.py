"""The estimator: validate, scale, train, answer."""

import math
from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_array, check_is_fitted
from torch import Tensor

from skgbnf._random import RandomState
from skgbnf.elbo import mixture_bound
from skgbnf.fitting import training_mode, unchanged_on_failure
from skgbnf.mixture import mixture_log_prob
from skgbnf.persistence import persistent
from skgbnf.table.checks import DTYPES
from skgbnf.vae.model import Images, LatentModel
from skgbnf.vae.preparation import prepare, to_images
from skgbnf.vae.rounds import add_rounds, start_rounds
from skgbnf.vae.scoring import bound, by_chunks, decode, latent_noise
from skgbnf.vae.state import AutoencoderState
from skgbnf.vae.validation import check_parameters
from skgbnf.validation import check_integer, fit_device, seed_from

_MEAN_DRAWS = 64


@persistent
class GradientBoostedFlowVAE(
    AutoencoderState, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator
):
    r"""Variational autoencoder with a boosted mixture of flows as its posterior.

    A decoder turns a latent row z, standard normal, into a distribution of pixels. Which z an
    image may have come from is approximated by a mixture that grows by rounds,

    .. math:: q(z|x) = \sum_c \rho_c \, g_c(z|x),

    whose components are flows that depend on the image by way of an encoder. The density of the
    mixture is exact.

    Parameters
    ----------
    n_components : int, default=2
        Dimension of the latent space.

    n_estimators : int, default=4
        Largest number of components of the posterior. Fewer are kept if held-out images do not
        gain.

    flow : {"realnvp", "glow", "nsf_coupling", "affine"}, default="realnvp"
        Family of the components: affine or spline coupling behind a diagonal Gaussian, or the
        Gaussian alone, which with ``n_estimators=1`` is the ordinary autoencoder.

    n_transforms : int, default=2
        Coupling layers of each component.

    likelihood : {"gaussian", "bernoulli", "discretized_logistic"}, default="gaussian"
        Distribution of a pixel: "gaussian" for real numbers, standardised inside, "bernoulli"
        for numbers from 0 to 1, "discretized_logistic" for levels 0, 1, ..., `n_levels` - 1.

    n_levels : int, default=256
        Number of levels of a discretised pixel; other likelihoods ignore it.

    network : {"mlp", "conv"}, default="mlp"
        Kind of encoder and decoder. "conv" has two convolutions before (and after) the hidden
        layers and needs X of shape (n_samples, height, width) or more.

    hidden_layer_sizes : tuple of int, default=(300, 300)
        Widths of the encoder; the decoder has them in reverse.

    flow_hidden_layer_sizes : tuple of int, default=(64,)
        Widths of the networks in each coupling layer.

    activation : {"relu", "tanh", "elu", "silu"}, default="elu"
        Non-linearity of all networks.

    objective : {"greedy", "gradient"}, default="greedy"
        What rounds after the first maximise. "greedy": the bound of the whole mixture, as a
        function of the new component. "gradient": the functional gradient of the bound, as in
        [1]_.

    entropy_weight : float, default=1.0
        Factor of the logarithm of densities in rounds after the first: more than 1 makes new
        components broader.

    max_iter : int, default=200
        Largest number of epochs of a round.

    fine_tune : int, default=1
        Passes after the last round in which encoder, decoder and all components are trained
        together.

    batch_size : int, default=100
        Images per training step.

    learning_rate_init : float, default=0.002
        Learning rate of Adam at the start of a round; it falls along half a cosine.

    validation_fraction : float or None, default=0.1
        Share of the images set aside to stop a round, to fit the weights of the mixture and to
        choose the number of rounds; at least 10, but no more than a third. None or 0 lets the
        training images decide. Ignored if `fit` is given `X_val`.

    n_iter_no_change : int, default=40
        Epochs without gain on held-out images after which a round ends.

    device : {"cpu", "cuda", "auto"} or torch.device, default="cpu"
        Where to compute; "auto" takes a GPU if there is one.

    random_state : int, RandomState instance or None, default=None
        Governs `fit`: the same integer gives the same model on one machine.

    verbose : int, default=0
        Whether to print a line for each round.

    Attributes
    ----------
    encoder_, decoder_ : FittedComponent
        The networks, their parameters as NumPy arrays.

    estimators_ : list of FittedComponent
        Components of the posterior.

    estimator_weights_ : ndarray of shape (`n_estimators_`,)
        Their weights, which sum to 1.

    n_estimators_ : int
        Number of components kept.

    scores_ : ndarray of shape (`n_estimators_`,)
        Mean evidence lower bound of the held-out images after each round, in nats (of the
        training images if none were held out); the last one after fine-tuning.

    n_iter_ : int
        Epochs of all rounds and of fine-tuning.

    location_, scale_ : ndarrays of shape (`n_features_in_`,)
        What the encoder sees is X less location over scale: mean and standard deviation of each
        pixel, or one for all where the likelihood is not "gaussian".

    image_shape_ : tuple of int
        Shape of one row of X.

    likelihood_ : str
        Distribution of a pixel, `likelihood` at the time of `fit`.

    n_levels_ : int
        `n_levels` at the time of `fit`.

    n_features_in_ : int
        Number of pixels, times channels.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns, if X had string names for all of them.

    See Also
    --------
    GradientBoostedFlowDensity : Density of a table without latent variables.
    sklearn.decomposition.PCA : Linear, with the same methods.

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

    def __init__(
        self,
        n_components: int = 2,
        *,
        n_estimators: int = 4,
        flow: str = "realnvp",
        n_transforms: int = 2,
        likelihood: str = "gaussian",
        n_levels: int = 256,
        network: str = "mlp",
        hidden_layer_sizes: int | Sequence[int] = (300, 300),
        flow_hidden_layer_sizes: int | Sequence[int] = (64,),
        activation: str = "elu",
        objective: str = "greedy",
        entropy_weight: float = 1.0,
        max_iter: int = 200,
        fine_tune: int = 1,
        batch_size: int = 100,
        learning_rate_init: float = 2e-3,
        validation_fraction: float | None = 0.1,
        n_iter_no_change: int = 40,
        device: str | torch.device = "cpu",
        random_state: RandomState = None,
        verbose: int = 0,
    ) -> None:
        self.n_components = n_components
        self.n_estimators = n_estimators
        self.flow = flow
        self.n_transforms = n_transforms
        self.likelihood = likelihood
        self.n_levels = n_levels
        self.network = network
        self.hidden_layer_sizes = hidden_layer_sizes
        self.flow_hidden_layer_sizes = flow_hidden_layer_sizes
        self.activation = activation
        self.objective = objective
        self.entropy_weight = entropy_weight
        self.max_iter = max_iter
        self.fine_tune = fine_tune
        self.batch_size = batch_size
        self.learning_rate_init = learning_rate_init
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: ArrayLike, y: object = None, X_val: ArrayLike | None = None) -> Self:
        """Train the networks, and the posterior round by round.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_pixels), (n_samples, height, width) or \
                (n_samples, height, width, n_channels)
            Training images.

        y : None
            Ignored, present for the scikit-learn interface.

        X_val : array-like of the same number of dimensions, default=None
            Held-out images.

        Returns
        -------
        self : GradientBoostedFlowVAE

        Raises
        ------
        ValueError, TypeError
            If a parameter is out of its range, or X is not what the likelihood describes. The
            estimator is then as it was before.
        """
        with unchanged_on_failure(self):
            check_parameters(self)
            device = fit_device(self.device)
            seed = seed_from(self.random_state)
            X, X_val = prepare(self, X, X_val, seed)
            train = to_images(self, X, torch.float32, device)
            judge = train if X_val is None else to_images(self, X_val, torch.float32, device)
            with training_mode(device):
                boosting = start_rounds(self, train, judge, seed)
                add_rounds(self, boosting)
            self._publish(boosting)
        return self

    def transform(self, X: ArrayLike) -> np.ndarray:
        """Posterior mean of each image.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)

        Returns
        -------
        Z : ndarray of shape (n_samples, n_components)
            float32 if X is, otherwise float64; a mean over 64 draws of each component, the same
            for every image and at every call, with their mirror images.
        """
        check_is_fitted(self)
        noise = latent_noise(self, _MEAN_DRAWS // 2, 0)
        noise = torch.cat([noise, -noise])

        def mean(model: LatentModel, images: Images, weights: Tensor) -> Tensor:
            z = model.draws(model.encoder(images.inputs), noise.to(images.inputs))
            return torch.tensordot(weights, z.mean(1), dims=1)

        return by_chunks(self, X, mean, self._n_features_out)

    def inverse_transform(self, Z: ArrayLike) -> np.ndarray:
        """Decode latent rows: the mean of each pixel.

        Parameters
        ----------
        Z : array-like of shape (n_samples, n_components)

        Returns
        -------
        X : ndarray of shape (n_samples, ...), images of shape `image_shape_`
            In the units of the training images.
        """
        check_is_fitted(self)
        rows = check_array(Z, dtype=DTYPES, input_name="Z")
        if rows.shape[1] != self._n_features_out:
            raise ValueError(
                f"Z has {rows.shape[1]} columns, but the latent space has {self._n_features_out}."
            )
        return decode(self, rows)

    def reconstruct(self, X: ArrayLike) -> np.ndarray:
        """Encode and decode images.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)

        Returns
        -------
        X : ndarray of shape (n_samples, ...), images of shape `image_shape_`
            ``inverse_transform(transform(X))``.
        """
        # A wrapper of set_output may have made a table of what transform returns.
        return decode(self, np.asarray(self.transform(X)))

    def sample(
        self, n_samples: int = 1, random_state: RandomState = None, *, noise: bool = True
    ) -> np.ndarray:
        """Draw images.

        Parameters
        ----------
        n_samples : int, default=1

        random_state : int, RandomState instance or None, default=None
            The constructor's `random_state` governs :meth:`fit` alone.

        noise : bool, default=True
            Whether pixels are drawn from their distribution, which makes the images draws from
            the model. If False, they are means given the latent row, which look better.

        Returns
        -------
        X : ndarray of shape (n_samples, ...), images of shape `image_shape_`
            In the units of the training images, float64.
        """
        check_is_fitted(self)
        check_integer("n_samples", n_samples, 1)
        seed = seed_from(random_state)
        generator = torch.Generator().manual_seed(seed)
        shape = (int(n_samples), self._n_features_out)
        Z = torch.randn(shape, generator=generator, dtype=torch.float64, device="cpu").numpy()
        return decode(self, Z, generator if noise else None)

    def score_samples(
        self, X: ArrayLike, n_draws: int = 100, random_state: RandomState = 0
    ) -> np.ndarray:
        r"""Importance-weighted lower bound of the log-density of each image.

        .. math:: \log \sum_c \rho_c \frac{1}{K} \sum_k \frac{p(x, z_{ck})}{q(z_{ck}|x)},
            \qquad z_{ck} \sim g_c(z|x).

        Its mean over draws rises with their number to the log-density.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)

        n_draws : int, default=100
            Draws for each image, the same number from each component, at least one.

        random_state : int, RandomState instance or None, default=0
            Governs the noise, which is the same for all images.

        Returns
        -------
        log_density : ndarray of shape (n_samples,)
            In nats, with respect to the units of X; float32 if X is, otherwise float64.
        """
        check_is_fitted(self)

        def evaluate(log_p: Tensor, log_probs: Tensor, weights: Tensor) -> Tensor:
            log_q = mixture_log_prob(log_probs, weights.log())
            log_ratio = log_p - log_q + weights.log()[:, None, None]
            return torch.logsumexp(log_ratio.flatten(0, 1), dim=0) - math.log(log_p.shape[1])

        return bound(self, X, evaluate, n_draws, random_state)

    def elbo(self, X: ArrayLike, n_draws: int = 100, random_state: RandomState = 0) -> np.ndarray:
        """Evidence lower bound of each image.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)

        n_draws : int, default=100
            Draws for each image, the same number from each component, at least one.

        random_state : int, RandomState instance or None, default=0
            Governs the noise, which is the same for all images.

        Returns
        -------
        bound : ndarray of shape (n_samples,)
            In nats, with respect to the units of X; at most :meth:`score_samples` with the same
            draws.
        """
        check_is_fitted(self)

        def evaluate(log_p: Tensor, log_probs: Tensor, weights: Tensor) -> Tensor:
            return mixture_bound(log_p, log_probs, weights).mean(0)

        return bound(self, X, evaluate, n_draws, random_state)

    def score(self, X: ArrayLike, y: object = None) -> float:
        """Mean of :meth:`score_samples`, in nats; higher is better."""
        return float(np.mean(self.score_samples(X), dtype=np.float64))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    @property
    def _n_features_out(self) -> int:
        return self.decoder_.architecture.n_latent
