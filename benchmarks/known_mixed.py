"""Mixed densities that are known: draws, and the log-density of whole and of partial rows."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats


@dataclass(frozen=True)
class Known:
    """A known density of a mixed table.

    Attributes
    ----------
    draw : callable
        From a number of rows and a generator to a frame.

    log_density : callable
        From a frame, of which whole columns may be missing, to log-densities.

    hidden : float, default=0.0
        Share of the cells of training rows that are missing, at random.

    columns : dict or None, default=None
        The kinds that a fit is told.
    """

    draw: Callable[[int, np.random.Generator], pd.DataFrame]
    log_density: Callable[[pd.DataFrame], np.ndarray]
    hidden: float = 0.0
    columns: dict | None = None


_SHARES = np.array([0.4, 0.3, 0.2, 0.1])
_CENTRES = np.array([[0, 0, 0], [2, 1, -1], [-1, 2, 2], [3, -2, 0]], dtype=float)
_COVARIANCES = np.array(
    [
        [[1, 0.5, 0], [0.5, 1, 0], [0, 0, 1]],
        [[0.5, 0, 0.3], [0, 1, 0], [0.3, 0, 1]],
        [[1, 0, 0], [0, 0.3, 0.2], [0, 0.2, 1]],
        [[2, -0.8, 0], [-0.8, 1, 0], [0, 0, 0.2]],
    ]
)
_NAMES = np.array(["north", "east", "south", "west"])


def _draw_classes(n: int, rng: np.random.Generator) -> pd.DataFrame:
    code = rng.choice(4, n, p=_SHARES)
    factors = np.linalg.cholesky(_COVARIANCES)[code]
    x = _CENTRES[code] + (factors @ rng.normal(size=(n, 3, 1)))[..., 0]
    return pd.DataFrame(x, columns=["a", "b", "c"]).assign(region=_NAMES[code])


def _score_classes(frame: pd.DataFrame) -> np.ndarray:
    known = [j for j, name in enumerate("abc") if frame[name].notna().all()]
    log_joint = np.log(_SHARES)[None].repeat(len(frame), 0)
    if known:
        x = frame[["abc"[j] for j in known]].to_numpy()
        for k in range(4):
            part = _COVARIANCES[k][np.ix_(known, known)]
            log_joint[:, k] += stats.multivariate_normal(_CENTRES[k][known], part).logpdf(x)
    if frame["region"].notna().all():
        code = frame["region"].map({name: k for k, name in enumerate(_NAMES)}).to_numpy()
        return log_joint[np.arange(len(frame)), code]
    return np.logaddexp.reduce(log_joint, axis=1)


_ZERO, _LOG_MEAN, _LOG_SD = 0.3, 1.0, 0.8
_QUANTILES = stats.norm.ppf((np.arange(2000) + 0.5) / 2000)


def _rate(amount: np.ndarray) -> np.ndarray:
    return np.where(amount > 0, 2 + 2 * np.log1p(amount), 1.0)


def _draw_amounts(n: int, rng: np.random.Generator) -> pd.DataFrame:
    amount = np.exp(_LOG_MEAN + _LOG_SD * rng.normal(size=n))
    amount[rng.random(n) < _ZERO] = 0.0
    return pd.DataFrame({"amount": amount, "visits": rng.poisson(_rate(amount))})


def _score_amounts(frame: pd.DataFrame) -> np.ndarray:
    visits = frame["visits"].to_numpy(dtype=float)
    if frame["amount"].isna().all():
        amounts = np.exp(_LOG_MEAN + _LOG_SD * _QUANTILES)
        positive = stats.poisson.pmf(visits[:, None], _rate(amounts)).mean(axis=1)
        return np.log(_ZERO * stats.poisson.pmf(visits, 1.0) + (1 - _ZERO) * positive)
    amount = frame["amount"].to_numpy(dtype=float)
    positive = np.where(amount > 0, amount, 1.0)
    lognormal = stats.lognorm(_LOG_SD, scale=np.exp(_LOG_MEAN)).logpdf(positive)
    score = np.where(amount > 0, np.log(1 - _ZERO) + lognormal, np.log(_ZERO))
    if np.isnan(visits).all():
        return score
    return score + stats.poisson.logpmf(visits, _rate(amount))


_COVARIANCE = 0.7 ** np.abs(np.subtract.outer(np.arange(10), np.arange(10)))


def _draw_gaps(n: int, rng: np.random.Generator) -> pd.DataFrame:
    x = rng.multivariate_normal(np.zeros(10), _COVARIANCE, n)
    return pd.DataFrame(x, columns=[f"x{j}" for j in range(10)])


def _score_gaps(frame: pd.DataFrame) -> np.ndarray:
    known = np.flatnonzero(frame.notna().all().to_numpy())
    part = _COVARIANCE[np.ix_(known, known)]
    return stats.multivariate_normal(np.zeros(len(known)), part).logpdf(frame.iloc[:, known])


_TURNS = ((0.5, -2.5, 6.0), (0.3, 1.0, 3.0), (0.2, 3.0, 12.0))


def _draw_angles(n: int, rng: np.random.Generator) -> pd.DataFrame:
    which = rng.choice(3, n, p=[share for share, _, _ in _TURNS])
    centres, widths = (np.array([turn[i] for turn in _TURNS])[which] for i in (1, 2))
    angle = np.remainder(rng.vonmises(centres, widths) + np.pi, 2 * np.pi) - np.pi
    return pd.DataFrame({"angle": angle, "speed": np.cos(angle) + 0.5 * rng.normal(size=n)})


def _score_angles(frame: pd.DataFrame) -> np.ndarray:
    if frame["angle"].isna().all():
        angles = np.linspace(-np.pi, np.pi, 2001)[:-1]
        density = np.exp(_score_turns(angles)) * 2 * np.pi / 2000
        speeds = stats.norm(np.cos(angles), 0.5).pdf(frame[["speed"]].to_numpy())
        return np.log(speeds @ density)
    angle = frame["angle"].to_numpy()
    score = _score_turns(angle)
    if frame["speed"].isna().all():
        return score
    return score + stats.norm(np.cos(angle), 0.5).logpdf(frame["speed"].to_numpy())


def _score_turns(angle: np.ndarray) -> np.ndarray:
    parts = [np.log(s) + stats.vonmises(k, loc=m).logpdf(angle) for s, m, k in _TURNS]
    return np.logaddexp.reduce(parts)


KNOWN = {
    "categories": Known(_draw_classes, _score_classes),
    "zeros and counts": Known(_draw_amounts, _score_amounts),
    "gaps": Known(_draw_gaps, _score_gaps, hidden=0.3),
    "angle": Known(_draw_angles, _score_angles, columns={"angle": ("periodic", 2 * np.pi)}),
}
"""By name."""
