"""
Bounds, counts and data frames
==============================

Real tables hold amounts that are never negative, fractions between 0 and 1, and counts. A density
can respect all of them, and return its samples as a table of the same kind.
"""

# %%
# A table
# -------
#
# Orders of customers: their number, the amount spent and the fraction returned, as a data frame
# with a type for each column. More orders mean a larger amount.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.base import clone

from skgbnf import GradientBoostedFlowDensity


def draw_table(n_samples, seed):
    rng = np.random.default_rng(seed)
    orders = 1 + rng.poisson(2, size=n_samples)
    columns = {
        "orders": orders,
        "amount": rng.gamma(0.9 * orders, 20).astype(np.float32),
        "returned": rng.beta(0.8, 2.5, size=n_samples),
    }
    return pd.DataFrame(columns)


table, new_table = draw_table(2000, seed=0), draw_table(2000, seed=1)

# %%
# With bounds and without
# -----------------------
#
# ``bounds`` gives columns the intervals they cannot leave, ``None`` for no bound on that side. With
# ``dequantize=True`` the counts get uniform noise of the width of their step.

free = GradientBoostedFlowDensity(1, flow="nsf", max_iter=30, dequantize=True, random_state=0)
bounds = {"orders": (1, None), "amount": (0, None), "returned": (0, 1)}
bounded = clone(free).set_params(bounds=bounds)

for name, model in {"free": free, "bounded": bounded}.items():
    drawn = model.fit(table).sample(10_000, random_state=0)
    outside = (drawn[:, 1:] < 0).any(axis=1) | (drawn[:, 2] > 1)
    print(
        f"{name:<8} {model.score(new_table):.3f} nats on new data, "
        f"{outside.mean():.1%} of samples with an amount or a fraction out of bounds"
    )

# %%
# Both are densities of the same columns in the same units, so their scores compare. Bounds are
# meant for the samples; whether they also improve the score depends on the data near them.
#
# The samples as a table
# ----------------------
#
# ``sample_frame`` restores names and types: counts are integers, and the amount is in single
# precision.

frame = bounded.sample_frame(20_000, random_state=0)
print(frame.dtypes)
print(frame.head())

# %%
# Near the bounds
# ---------------
#
# Histograms of the data and of samples of both models. Without bounds some of the mass lies below
# zero.

edges = {"amount": np.arange(-10, 41, 2.5), "returned": np.arange(-0.1, 0.41, 0.025)}
drawn = {
    "data": draw_table(20_000, seed=2),
    "free": free.sample_frame(20_000, random_state=0),
    "bounded": frame,
}
styles = {
    "data": {"color": "0.8"},
    "free": {"color": "C3", "histtype": "step"},
    "bounded": {"color": "C0", "histtype": "step"},
}
figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
for ax, column in zip(axes, edges, strict=True):
    for name, frame in drawn.items():
        shares = np.full(len(frame), 1 / len(frame))
        ax.hist(frame[column], edges[column], weights=shares, label=name, **styles[name])
    ax.set_xlabel(column)
axes[0].set_ylabel("fraction of the samples")
axes[1].legend()
plt.show()
