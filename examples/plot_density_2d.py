"""
A density in two dimensions
===========================

Rows along a spiral: no Gaussian fits them, yet there is a density, and it can be looked at.
"""

# %%
# The rows
# --------
#
# Two columns of scikit-learn's swiss roll, in arbitrary units.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_swiss_roll

from skgbnf import GradientBoostedFlowDensity

X = make_swiss_roll(2500, noise=0.5, random_state=0)[0][:, [0, 2]]

# %%
# The fit
# -------
#
# Some of the rows are held out; they decide how long each round trains and how many rounds remain.

model = GradientBoostedFlowDensity(3, max_iter=30, random_state=0).fit(X)
print(f"{model.n_estimators_} rounds, held-out mean {model.validation_scores_[-1]:.3f} nats")

# %%
# What it answers
# ---------------
#
# ``score_samples`` is the logarithm of the density in each row, with respect to the units of the
# columns. Its exponential over a grid is the density itself, and the sum over the cells of a grid
# that holds all rows is the probability inside, close to 1.

low, high = X.min(axis=0) - 3, X.max(axis=0) + 3
axes_of_grid = [np.linspace(*limits, 200) for limits in zip(low, high, strict=True)]
grid = np.stack(np.meshgrid(*axes_of_grid), axis=-1)
density = np.exp(model.score_samples(grid.reshape(-1, 2))).reshape(grid.shape[:2])
cell = np.prod([axis[1] - axis[0] for axis in axes_of_grid])
print(f"probability inside the grid: {density.sum() * cell:.3f}")

# %%
# The rows, the density, and as many rows drawn from it. The square root of the density is drawn,
# which keeps thin places visible.

samples = model.sample(len(X), random_state=0)

figure, axes = plt.subplots(1, 3, figsize=(10, 3.6), layout="constrained", sharex=True, sharey=True)
axes[0].scatter(*X.T, s=4, color="C0", alpha=0.5, linewidths=0)
axes[0].set_title("rows")
axes[1].contourf(*axes_of_grid, np.sqrt(density), levels=20, cmap="Blues")
axes[1].set_title("density")
axes[2].scatter(*samples.T, s=4, color="C1", alpha=0.5, linewidths=0)
axes[2].set_title("samples")
for ax in axes:
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal", xlabel="first column")
axes[0].set_ylabel("second column")
plt.show()
