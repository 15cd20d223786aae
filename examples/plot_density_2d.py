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
from skgbnf.plotting import CoverageDisplay, DensityDisplay

names = ["first column", "second column"]
X, X_test = (make_swiss_roll(2500, noise=0.5, random_state=i)[0][:, [0, 2]] for i in range(2))

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
density = np.exp(model.score_samples(grid.reshape(-1, 2)))
cell = np.prod([axis[1] - axis[0] for axis in axes_of_grid])
print(f"probability inside the grid: {density.sum() * cell:.3f}")

# %%
# A picture of it
# ---------------
#
# :class:`~skgbnf.plotting.DensityDisplay` draws nested regions of highest density, each of which
# holds the share of the rows that the legend says. Beside them, as many rows drawn from the
# density.

samples = model.sample(len(X), random_state=0)

figure, (left, right) = plt.subplots(
    1, 2, figsize=(10, 4.8), layout="constrained", sharex=True, sharey=True
)
DensityDisplay.from_estimator(model, X, feature_names=names, ax=left, scatter_kw={"alpha": 0.3})
left.set_title("rows and regions of the density")
right.scatter(*samples.T, s=3, alpha=0.5, linewidths=0)
right.set(title="samples", xlabel=names[0])
plt.show()

# %%
# Is it calibrated?
# -----------------
#
# If the density is true, nine tenths of new rows fall into the region that holds nine tenths of its
# mass, and so on for every share. :class:`~skgbnf.plotting.CoverageDisplay` compares the two for
# rows that the model has not seen: below the diagonal it is too narrow, above it too wide.

CoverageDisplay.from_estimator(model, X_test, name="boosted flows", random_state=0)
plt.show()
