"""Tables of several domains, mapped onto one shared density."""

from skgbnf.alignment.estimator import FlowAligner

__all__ = ["FlowAligner"]
