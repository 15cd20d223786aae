"""The public attributes of everything that is fitted by rounds, with one meaning each."""

from abc import abstractmethod

import numpy as np

from skgbnf.training.fitted import FittedCombination, FittedComponent, History


class RoundAttributes:
    """Mixin of what the rounds of a fit left; all attributes are read-only."""

    @abstractmethod
    def _rounds(self) -> tuple[FittedCombination, History]:
        """The fitted components, and the notes on their rounds."""

    @property
    def estimators_(self) -> list[FittedComponent]:
        """The components, a list of FittedComponent, with their parameters as NumPy arrays.

        Round by round; a density that was cross-fitted has one for each fold in each round.
        """
        return list(self._rounds()[0].components)

    @property
    def estimator_weights_(self) -> np.ndarray:
        """Mixture weights, or with ``combine="product"`` powers, which sum to 1.

        ndarray of shape (n_components,), in the order of `estimators_`.
        """
        return self._rounds()[0].weights

    @property
    def n_estimators_(self) -> int:
        """Number of rounds kept."""
        return len(self._rounds()[1].n_iter)

    @property
    def n_iter_(self) -> int:
        """Number of epochs, or EM iterations, of all rounds and of fine-tuning."""
        return self._rounds()[1].total_iter

    @property
    def staged_n_iter_(self) -> np.ndarray:
        """Epochs, or EM iterations, of each round, ndarray of shape (`n_estimators_`,).

        Those of fine-tuning count too: of a density in the round of the component that was trained,
        otherwise in the last round.
        """
        return self._rounds()[1].n_iter

    @property
    def train_scores_(self) -> np.ndarray | None:
        """Mean score of the training samples after each round, in nats.

        ndarray of shape (`n_estimators_`,): log-likelihoods of a density, evidence lower bounds of
        an autoencoder; None where there are no samples.
        """
        return self._rounds()[1].train_scores

    @property
    def validation_scores_(self) -> np.ndarray | None:
        """The same of the validation set, or of all samples out of their folds; None without.

        Of a matched density the evidence lower bounds, estimated from draws that training did not
        see: the logarithm of the integral of what was matched, less the Kullback-Leibler divergence
        from it.
        """
        return self._rounds()[1].validation_scores
