"""Labels of domains."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from skgbnf.table.labels import label_from_plain, label_to_plain

_ONE = "all"
"""Label of the domain of samples that are given none."""


@dataclass(frozen=True, eq=False)
class Domains:
    """The domains that a fit saw.

    Attributes
    ----------
    labels : ndarray of shape (n_domains,)
        Sorted.
    """

    labels: np.ndarray

    @classmethod
    def of_samples(cls, domain: Any, n_samples: int) -> tuple[Self, np.ndarray]:
        """Domains of training samples, and the number of that of each sample.

        Raises
        ------
        ValueError
            If there is not one label for each sample, a label is missing, or a domain has fewer
            than two samples.
        """
        values = np.full(n_samples, _ONE) if domain is None else _checked(domain, n_samples)
        try:
            labels, numbers, counts = np.unique(values, return_inverse=True, return_counts=True)
        except TypeError as e:
            raise ValueError("domain: labels must be of one type, numbers or strings.") from e
        if counts.min() < 2:
            label = labels.tolist()[counts.argmin()]
            raise ValueError(f"domain: {label!r} has one sample, and needs at least two.")
        return cls(labels), numbers

    def reference(self, label: Any, numbers: np.ndarray) -> int:
        """Number of the reference domain; that with most samples for None."""
        if label is None:
            return int(np.bincount(numbers).argmax())
        found = np.flatnonzero(self.labels == label)
        if not len(found):
            raise ValueError(f"reference: {label!r} is not among the domains {self._named()}.")
        return int(found[0])

    def numbers(self, domain: Any, n_samples: int) -> np.ndarray:
        """Number of the domain of each sample, given one label for all or one for each.

        Raises
        ------
        ValueError
            If a label was not seen in fit, or there are more or fewer labels than samples.
        """
        if domain is None:
            if len(self.labels) > 1:
                raise ValueError(f"domain: fit saw {self._named()}; name that of the samples.")
            return np.zeros(n_samples, dtype=int)
        if np.ndim(domain) == 0:
            domain = np.full(n_samples, domain)
        values = _checked(domain, n_samples)
        known = {label: k for k, label in enumerate(self.labels.tolist())}
        unknown = [label for label in values.tolist() if label not in known]
        if unknown:
            raise ValueError(f"domain: {unknown[0]!r} was not seen in fit, only {self._named()}.")
        return np.array([known[label] for label in values.tolist()], dtype=int)

    def to_plain(self) -> dict[str, Any]:
        """The labels as JSON values; ValueError if a label is of a type that a file cannot hold."""
        labels = [label_to_plain(label) for label in self.labels.tolist()]
        return {"labels": labels, "objects": self.labels.dtype == object}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Self:
        """Inverse of :meth:`to_plain`; ValueError unless the labels are distinct and sorted."""
        read = [label_from_plain(label) for label in plain["labels"]]
        labels = np.array(read, dtype=object if plain["objects"] else None)
        if not np.array_equal(labels, np.unique(labels)):
            raise ValueError("its domains are not distinct and sorted")
        return cls(labels)

    def _named(self) -> str:
        shown = ", ".join(repr(label) for label in self.labels[:10].tolist())
        return shown + (" and others" if len(self.labels) > 10 else "")


def _checked(domain: Any, n_samples: int) -> np.ndarray:
    """Labels as an array, one for each sample, none of them missing."""
    values = np.asarray(domain)
    if values.shape != (n_samples,):
        raise ValueError(
            f"domain must hold one label for each of {n_samples} samples, got shape {values.shape}."
        )
    if any(label is None or label != label for label in values.tolist()):
        raise ValueError("domain: a label is missing (None or NaN).")
    return values
