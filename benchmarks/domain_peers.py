"""Methods that bring rows of one domain into the units of another, each a function.

``method(A, B)`` returns a function from rows of B to rows of A. POT is optional.
"""

from collections.abc import Callable

import numpy as np

from skgbnf import FlowAligner

try:
    import ot
except ImportError:
    ot = None

Translate = Callable[[np.ndarray], np.ndarray]

_STEPS = 200
_SMALL = 1e-9


def aligner(**parameters) -> Callable:
    """A `FlowAligner` with A as its reference; the fitted aligner is beside the function."""

    def fit(A, B):
        model = FlowAligner(reference="A", random_state=0, **parameters)
        model.fit(np.concatenate([A, B]), domain=np.repeat(["A", "B"], [len(A), len(B)]))

        def translate(X):
            return model.translate(X, "B", "A")

        translate.model = model
        return translate

    return fit


def untouched(A, B) -> Translate:
    return lambda X: X


def quantiles(A, B) -> Translate:
    """Quantile normalisation of each column."""

    def translate(X):
        return np.column_stack([_matched(X[:, j], B[:, j], A[:, j]) for j in range(X.shape[1])])

    return translate


def _matched(x, source, target):
    levels = [(np.arange(len(values)) + 0.5) / len(values) for values in (source, target)]
    return np.interp(np.interp(x, np.sort(source), levels[0]), levels[1], np.sort(target))


def combat(A, B) -> Translate:
    """ComBat with A as the reference: shifts and scales of columns, shrunk by empirical Bayes.

    Adjusting batch effects in microarray expression data using empirical Bayes methods.
    W. E. Johnson, C. Li, A. Rabinovic, 2007. https://doi.org/10.1093/biostatistics/kxj037
    """
    location, scale = A.mean(axis=0), np.maximum(A.std(axis=0), _SMALL)
    Z, n = (B - location) / scale, len(B)
    shift, variance = Z.mean(axis=0), np.maximum(Z.var(axis=0, ddof=1), _SMALL)
    mean, spread = variance.mean(), max(variance.var(), _SMALL)
    alpha, beta = 2 + mean**2 / spread, mean + mean**3 / spread
    centre, between = shift.mean(), max(shift.var(), _SMALL)
    gamma, delta = shift, variance
    for _ in range(30):
        gamma = (n * between * shift + delta * centre) / (n * between + delta)
        delta = (beta + np.square(Z - gamma).sum(axis=0) / 2) / (n / 2 + alpha - 1)
    return lambda X: ((X - location) / scale - gamma) / np.sqrt(delta) * scale + location


def sliced_transport(A, B) -> Translate:
    """Iterated monotone maps of the columns of random rotations, a tenth of the way each."""
    rng, steps, rows = np.random.default_rng(0), [], B
    for _ in range(_STEPS):
        turn = np.linalg.qr(rng.normal(size=(B.shape[1],) * 2))[0]
        match = quantiles(A @ turn, rows @ turn)
        steps.append((turn, match))
        rows = _step(rows, turn, match)

    def translate(X):
        for turn, match in steps:
            X = _step(X, turn, match)
        return X

    return translate


def _step(X, turn, match):
    return X + 0.1 * (match(X @ turn) - X @ turn) @ turn.T


def _transport(make: Callable) -> Callable:
    def fit(A, B):
        fitted = make().fit(Xs=B, Xt=A)
        return lambda X: fitted.transform(Xs=X)

    return fit


UNTOUCHED, OURS, ALONE = "untouched", "FlowAligner", 'FlowAligner("mle")'
METHODS = {
    UNTOUCHED: untouched,
    OURS: aligner(),
    ALONE: aligner(objective="mle", flow=("scale", "linear")),
    "quantiles of columns": quantiles,
    "ComBat": combat,
    "sliced transport": sliced_transport,
}
if ot is None:
    print("POT is not installed: its transports are left out (pip install POT).")
else:
    METHODS |= {
        "POT LinearTransport": _transport(lambda: ot.da.LinearTransport(reg=1e-3)),
        "POT EMDTransport": _transport(ot.da.EMDTransport),
        "POT SinkhornTransport": _transport(lambda: ot.da.SinkhornTransport(reg_e=0.1, norm="max")),
    }
