"""Warnings that point at the line of the user's code that led to them."""

import sys
import warnings

_SKIPPED = {"skgbnf", "sklearn", "joblib"}
"""Packages whose lines a warning is not pointed at: this one, and what calls it for a user."""


def warn(message: str, category: type[Warning]) -> None:
    """Warn, and name the line of the nearest caller outside of this package and scikit-learn."""
    frame, level = sys._getframe(), 1
    while frame.f_back and _package(frame.f_globals) in _SKIPPED:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


def _package(module: dict[str, object]) -> str:
    return str(module.get("__name__")).partition(".")[0]
