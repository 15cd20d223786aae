"""Densities of configurations of particles."""

from skgbnf.particles.estimator import EquivariantFlowDensity

__all__ = ["EquivariantFlowDensity"]
