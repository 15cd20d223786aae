"""
Bounds, counts and data frames
==============================

Real tables hold amounts that are never negative, shares between 0 and 1, and counts. A density can
be told, and its samples can come back as a table of the same kind.
"""

# %%
# A table
# -------
#
# Orders of customers: how many, what they spent, and the share they sent back, as a data frame with
# a type for each column. The more orders there are, the larger the amount.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from skgbnf import GradientBoostedFlowDensity

rng = np.random.default_rng(0)
orders = 1 + rng.poisson(2, size=2000)
table = pd.DataFrame(
    {
        "orders": orders,
        "amount": rng.gamma(0.9 * orders, 20).astype(np.float32),
        "returned": rng.beta(0.8, 2.5, size=2000),
    }
)

# %%
# With bounds and without
# -----------------------
#
# ``bounds`` names columns and the intervals they cannot leave, ``None`` for no bound on that side.
# The noise that ``dequantize=True`` adds to the counts spreads each over its step.

bounds = {"orders": (1, None), "amount": (0, None), "returned": (0, 1)}
free = GradientBoostedFlowDensity(1, flow="nsf", max_iter=30, dequantize=True, random_state=0)
bounded = GradientBoostedFlowDensity(**{**free.get_params(), "bounds": bounds})
for name, model in {"free": free, "bounded": bounded}.items():
    drawn = model.fit(table).sample(10_000, random_state=0)
    outside = (drawn < [0.5, 0, 0]).any(axis=1) | (drawn[:, 2] > 1)
    print(
        f"{name:<8} held-out mean {model.validation_scores_[-1]:.3f} nats, "
        f"{outside.mean():.1%} of samples outside"
    )

# %%
# Both are densities of the same columns in the same units, so their scores compare.
#
# The samples as a table
# ----------------------
#
# ``sample_frame`` gives back names and types: counts are whole numbers, and the amount is in single
# precision.

samples = {
    "free": free.sample_frame(len(table), random_state=0),
    "bounded": bounded.sample_frame(len(table), random_state=0),
}
print(samples["bounded"].dtypes)
print(samples["bounded"].head())

# %%
# Near the bounds
# ---------------
#
# The mass that lies below zero without bounds is missing above it.

figure, axes = plt.subplots(1, 3, figsize=(10, 3.4), layout="constrained")
edges = {
    "orders": np.arange(-1.5, 11),
    "amount": np.arange(-10, 101, 2.5),
    "returned": np.arange(-0.1, 1.01, 0.025),
}
for ax, column in zip(axes, table.columns, strict=True):
    ax.hist(table[column], edges[column], color="0.8", label="rows")
    for (name, drawn), colour in zip(samples.items(), ("C3", "C0"), strict=True):
        ax.hist(
            drawn[column], edges[column], histtype="step", color=colour, linewidth=1.3, label=name
        )
    ax.set_xlabel(column)
axes[0].set_ylabel("rows")
axes[1].legend()
plt.show()
