"""A variational autoencoder whose posterior is a boosted mixture of flows."""

from skgbnf.vae.estimator import GradientBoostedFlowVAE

__all__ = ["GradientBoostedFlowVAE"]
