"""What the parameters of components may be, by name."""

from torch import nn

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "elu": nn.ELU, "silu": nn.SiLU}
"""Non-linearities of the hidden layers by name."""

SPLINES = ("columns", "whitened", None)
"""Places of the splines of single columns."""

TAILS = ("base", "transform")
"""What may give a flow its tails."""

SCALE_CLAMP = 3.0
"""Default soft bound of the log-scales that networks give."""
