"""How close drawn samples are to those that a model was fitted to."""

import numpy as np
from numpy.typing import ArrayLike

from skgbnf.table.cells import Cells, read_columns

_PAIRS_AT_ONCE = 2_000_000


def distance_to_closest_record(
    samples: ArrayLike, X: ArrayLike, X_reference: ArrayLike | None = None
) -> np.ndarray:
    r"""Distance of each drawn sample to the closest training sample, to see what draws reveal.

    The distance of Gower [1]_: the mean over features of

    - the absolute difference over the range of the feature, of numbers, dates and durations;
    - 0 or 1, whether they differ, of categories;
    - 1 where one of two values is missing, and 0 where both are.

    A distance alone says little. Compare it with that of held-out samples to X: draws that are
    closer to training samples than these are copies of them, more or less. Distances do not prove
    privacy; they find the copies.

    Parameters
    ----------
    samples : array-like or data frame of shape (n_drawn, n_features)
        Samples of a model, as an array or a frame like X.

    X : array-like or data frame of shape (n_samples, n_features)
        What the model was fitted to.

    X_reference : array-like or data frame of shape (n_reference, n_features), default=None
        Table that the ranges are taken from; None for X. Distances to different tables can be
        compared only if they have one reference.

    Returns
    -------
    distance : ndarray of shape (n_drawn,)
        0 for a copy; above 1 only far outside the ranges.

    Raises
    ------
    ValueError, TypeError
        If a table cannot be read, or the tables have different features.

    References
    ----------
    .. [1] A General Coefficient of Similarity and Some of Its Properties. J. C. Gower, 1971.
       https://doi.org/10.2307/2528823

    Examples
    --------
    >>> from skgbnf.metrics import distance_to_closest_record
    >>> X = [[0.0, 0.0], [3.0, 10.0]]
    >>> distance_to_closest_record([[3.0, 10.0], [3.0, 0.0]], X).tolist()
    [0.0, 0.5]
    """
    known, drawn = read_columns(X), read_columns(samples, "samples")
    reference = known if X_reference is None else read_columns(X_reference, "X_reference")
    if not len(known) == len(drawn) == len(reference):
        raise ValueError(
            f"X has {len(known)} columns, samples {len(drawn)} and X_reference {len(reference)}."
        )
    triples = enumerate(zip(known, drawn, reference, strict=True))
    pairs = [_comparable(j, *triple) for j, triple in triples]
    records, queries = (np.column_stack(columns) for columns in zip(*pairs, strict=True))
    is_number = [cells.levels is None for cells in known]
    size = max(1, _PAIRS_AT_ONCE // len(records))
    parts = [queries[i : i + size] for i in range(0, len(queries), size)]
    return np.concatenate([_gower(part, records, is_number).min(axis=1) for part in parts])


def _comparable(
    j: int, known: Cells, drawn: Cells, reference: Cells
) -> tuple[np.ndarray, np.ndarray]:
    """Column j of both tables: numbers over the range of the reference, or codes of levels."""
    for name, own in (("samples", drawn), ("X_reference", reference)):
        if (known.levels is None) != (own.levels is None) or known.unit != own.unit:
            raise ValueError(f"{name}: column {j} is of another kind than in X.")
    if known.levels is None or drawn.levels is None:
        present = reference.values[~np.isnan(reference.values)]
        span = float(np.ptp(present)) if len(present) else 0.0
        return known.values / (span or 1.0), drawn.values / (span or 1.0)
    code_of: dict[object, float] = {}
    for level in (*known.levels, *drawn.levels):
        code_of.setdefault(level, float(len(code_of)))
    return (
        known.looked_up(np.array([code_of[level] for level in known.levels])),
        drawn.looked_up(np.array([code_of[level] for level in drawn.levels])),
    )


def _gower(queries: np.ndarray, records: np.ndarray, is_number: list[bool]) -> np.ndarray:
    """Distances of all pairs, of shape (n_queries, n_records)."""
    total = np.zeros((len(queries), len(records)))
    for j, numeric in enumerate(is_number):
        a, b = queries[:, j, None], records[None, :, j]
        apart = np.abs(a - b) if numeric else (a != b).astype(np.float64)
        total += np.where(np.isnan(a) | np.isnan(b), np.isnan(a) != np.isnan(b), apart)
    return total / len(is_number)
