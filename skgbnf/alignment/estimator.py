"""The estimator that aligns several domains."""

from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from skgbnf._checks import check_integer
from skgbnf._fitting import unchanged_on_failure
from skgbnf._random import RandomState, seed_from
from skgbnf.alignment.domains import Domains
from skgbnf.alignment.fitted import FittedAlignment
from skgbnf.alignment.fitting import fit_alignment
from skgbnf.alignment.parameters import check_alignment_parameters, settings_of
from skgbnf.alignment.saving import PersistentAlignment
from skgbnf.persistence import persistent
from skgbnf.table.checks import checked_rows

_Function = Callable[[np.ndarray, int], np.ndarray]
"""Of samples, and the number of their domain."""


@persistent
class FlowAligner(PersistentAlignment, OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    r"""Alignment of samples of several domains, such as batches, sites or instruments.

    Each domain has an invertible map onto a space that all domains share: the units of one of them,
    the reference. No pairs of samples are needed. A translation from one domain to another is the
    map of the first and the inverse of the second, so that going there and back is exact [1]_.

    Maximum likelihood alone does not determine such maps: after a rotation of a normal
    distribution the likelihood is the same. By default a mixture is therefore boosted on the
    reference, and each of the other domains is mapped onto it by maximum likelihood, an upper bound
    of the divergence between the two [2]_. The components have other weights in each domain, so
    that no sample is moved because its class is more frequent there. Maps grow from the identity,
    layer by layer, while samples that were held out gain more than the new parameters cost. The
    density is a mixture; the maps, which must be invertible, are single flows.

    Parameters
    ----------
    objective : {"bound", "hybrid", "mle"}, default="bound"
        What maps are trained for.

        - "bound": the density of the reference, as above. The reference itself is not moved.
        - "mle": each domain is mapped onto the standard normal distribution, by maximum likelihood
          alone, in the standardised units of the reference.
        - "hybrid": the reference is mapped so; the other domains onto the density of its image, and
          with the weight `lambda_mle` onto the standard normal distribution.

    reference : label or None, default=None
        The domain in whose units the shared space is; None for the one with most samples, the first
        of those in the order of `domains_`.

    flow : sequence of str, default=("scale", "columns", "linear")
        Layers that a map may have, in their order. Each is kept only if held-out samples gain from
        it.

        - "scale": a shift and a scale of each feature.
        - "columns": an increasing spline of each feature.
        - "linear": a linear map.
        - "coupling": splines of each feature that depend on other features.

    n_estimators : int, default=8
        Maximum number of rounds of the shared density, each of which adds a Gaussian.

    lambda_mle : float, default=1.0
        Weight of the likelihood under the standard normal distribution; only for "hybrid".

    transport_penalty : float, default=0.1
        Weight of the mean squared distance, in standard deviations, by which layers other than
        "scale" move samples.

    noise : float, default=0.05
        Standard deviation of the noise added to samples while maps are trained, relative to that
        of each feature in its domain. It keeps repeated values from attracting everything.

    n_epochs : int, default=50
        Number of epochs in which a layer is trained.

    batch_size : int, default=200
        Number of samples of a training step; fewer if an epoch would have less than four steps.

    learning_rate_init : float, default=0.03
        Learning rate at the start of each layer.

    validation_fraction : float or None, default=0.2
        Fraction of the samples of each domain that chooses among maps, at least ten samples and at
        most a third; None to choose by the training samples.

    random_state : int, RandomState instance or None, default=None
        Determines splits, noise and the start of training.

    Attributes
    ----------
    domains_ : ndarray of shape (n_domains,)
        Labels of the domains, sorted.

    reference_ : label
        The reference domain.

    layers_ : list of tuple of str
        Layers of the map of each domain, in the order of `domains_`; () is the identity.

    component_weights_ : ndarray of shape (n_domains, n_components)
        Weights of the components of the shared density in each domain.

    n_features_in_ : int
        Number of features seen in fit.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, if X had string names for all of them.

    See Also
    --------
    skgbnf.metrics.sliced_wasserstein : Distance between two sets of samples.
    skgbnf.metrics.two_sample_auc : Whether a classifier can tell two sets apart.
    skgbnf.plotting.AlignmentDisplay : Domains before and after.

    Notes
    -----
    Samples are told apart by `domain` alone: without it, `fit` sees one domain, which is not moved.
    In a :class:`~sklearn.pipeline.Pipeline` or a search, `domain` gets there by metadata routing.

    References
    ----------
    .. [1] AlignFlow: Cycle Consistent Learning from Multiple Domains via Normalizing Flows.
       A. Grover, C. Chute, R. Shu, Z. Cao, S. Ermon, 2020. https://arxiv.org/abs/1905.12892
    .. [2] Cooperative Distribution Alignment via JSD Upper Bound. W. Cho, Z. Gong, D. I. Inouye,
       2022. https://arxiv.org/abs/2207.02286

    Examples
    --------
    >>> import numpy as np
    >>> from skgbnf import FlowAligner
    >>> rng = np.random.default_rng(0)
    >>> X = np.concatenate([rng.normal(size=(100, 2)), rng.normal(5.0, 3.0, size=(80, 2))])
    >>> site = np.repeat(["north", "south"], [100, 80])
    >>> aligner = FlowAligner(n_estimators=1, random_state=0).fit(X, domain=site)
    >>> aligner.reference_, aligner.layers_
    ('north', [(), ('scale',)])
    >>> aligner.translate([[5.0, 5.0]], "south", "north").round().tolist()
    [[0.0, 0.0]]
    """

    __module__ = "skgbnf"  # the path in pickles, which stays wherever the class moves

    def __init__(
        self,
        objective: str = "bound",
        *,
        reference: Any = None,
        flow: Sequence[str] = ("scale", "columns", "linear"),
        n_estimators: int = 8,
        lambda_mle: float = 1.0,
        transport_penalty: float = 0.1,
        noise: float = 0.05,
        n_epochs: int = 50,
        batch_size: int = 200,
        learning_rate_init: float = 0.03,
        validation_fraction: float | None = 0.2,
        random_state: RandomState = None,
    ) -> None:
        self.objective = objective
        self.reference = reference
        self.flow = flow
        self.n_estimators = n_estimators
        self.lambda_mle = lambda_mle
        self.transport_penalty = transport_penalty
        self.noise = noise
        self.n_epochs = n_epochs
        self.batch_size = batch_size
        self.learning_rate_init = learning_rate_init
        self.validation_fraction = validation_fraction
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: object = None, *, domain: ArrayLike | None = None) -> Self:
        """Fit the shared density and a map for each domain.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples of all domains.

        y : None
            Ignored, present for the scikit-learn interface.

        domain : array-like of shape (n_samples,) or None, default=None
            Label of the domain of each sample, at least two samples for each; None if all are of
            one domain.

        Returns
        -------
        self : FlowAligner

        Raises
        ------
        ValueError, TypeError
            If a parameter is out of its range, X is no table of finite numbers, or `domain` does
            not fit to it. The aligner is then unchanged.
        """
        with unchanged_on_failure(self):
            check_alignment_parameters(self)
            rows = checked_rows(self, X, reset=True, ensure_min_samples=2)
            domains, numbers = Domains.of_samples(domain, len(rows))
            reference = domains.reference(self.reference, numbers)
            settings = settings_of(self, seed_from(self.random_state))
            self.fitted_ = fit_alignment(rows, numbers, reference, settings)
            self._note_domains(domains, reference)
        return self

    def fit_transform(
        self, X: ArrayLike, y: object = None, *, domain: ArrayLike | None = None
    ) -> Any:
        """Fit, and map the samples to the shared space; see :meth:`fit` and :meth:`transform`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples of all domains.

        y : None
            Ignored.

        domain : array-like of shape (n_samples,) or None, default=None
            Label of the domain of each sample.

        Returns
        -------
        Z : ndarray of shape (n_samples, n_features)
        """
        return self.fit(X, domain=domain).transform(X, domain=domain)

    def transform(self, X: ArrayLike, domain: ArrayLike | None = None) -> Any:
        """Map samples to the shared space.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        domain : label or array-like of shape (n_samples,), default=None
            Domain of all samples, or of each; None if `fit` saw one domain.

        Returns
        -------
        Z : ndarray of shape (n_samples, n_features)
            In float64 and, but for "mle" and "hybrid", in the units of the reference; a frame if
            ``set_output`` asks for one.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the aligner is not fitted.

        ValueError
            If X has other features than in `fit`, or a domain was not seen there.
        """
        return self._by_domain(X, domain, self._fitted().transform)

    def inverse_transform(self, Z: ArrayLike, domain: ArrayLike | None = None) -> np.ndarray:
        """Map samples from the shared space to a domain.

        Parameters
        ----------
        Z : array-like of shape (n_samples, n_features)
            Samples of the shared space.

        domain : label or array-like of shape (n_samples,), default=None
            As for :meth:`transform`.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            In float64.
        """
        return self._by_domain(Z, domain, self._fitted().inverse_transform)

    def translate(self, X: ArrayLike, source: Any, target: Any) -> np.ndarray:
        """Map samples from one domain to another.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        source, target : label or array-like of shape (n_samples,)
            The domains.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            What the samples would be in the domain `target`, in float64.
        """
        image = self._by_domain(X, source, self._fitted().transform)
        numbers = self._domains.numbers(target, len(image))
        return self._each(image, numbers, self.fitted_.inverse_transform)

    def score_samples(self, X: ArrayLike, domain: ArrayLike | None = None) -> np.ndarray:
        """Log-density of each sample in its domain.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        domain : label or array-like of shape (n_samples,), default=None
            As for :meth:`transform`.

        Returns
        -------
        log_density : ndarray of shape (n_samples,)
            In nats and the units of X: exact, with the log-determinant of the map.
        """
        return self._by_domain(X, domain, self._fitted().log_density)

    def score(self, X: ArrayLike, y: object = None, *, domain: ArrayLike | None = None) -> float:
        """Mean of :meth:`score_samples`, in nats; higher is better.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        y : None
            Ignored.

        domain : label or array-like of shape (n_samples,), default=None
            As for :meth:`transform`.

        Returns
        -------
        score : float
        """
        return float(self.score_samples(X, domain).mean())

    def sample(
        self, n_samples: int = 1, domain: Any = None, *, random_state: RandomState = None
    ) -> np.ndarray:
        """Draw samples of a domain.

        Parameters
        ----------
        n_samples : int, default=1

        domain : label, default=None
            None if `fit` saw one domain.

        random_state : int, RandomState instance or None, default=None

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            In float64, in random order.
        """
        check_integer("n_samples", n_samples, 1)
        fitted, number = self._fitted(), self._domains.numbers(domain, 1)[0]
        return fitted.sample(int(n_samples), int(number), seed_from(random_state))

    def _fitted(self) -> FittedAlignment:
        check_is_fitted(self, "fitted_")
        return self.fitted_

    def _by_domain(self, X: Any, domain: Any, function: _Function) -> np.ndarray:
        """What a function of samples and the number of their domain makes of checked samples."""
        rows = checked_rows(self, X, reset=False)
        return self._each(rows, self._domains.numbers(domain, len(rows)), function)

    @staticmethod
    def _each(rows: np.ndarray, numbers: np.ndarray, function: _Function) -> np.ndarray:
        present = np.unique(numbers).tolist()
        parts = {k: function(rows[numbers == k], k) for k in present}
        answer = np.empty((len(rows), *parts[present[0]].shape[1:]))
        for k, part in parts.items():
            answer[numbers == k] = part
        return answer
