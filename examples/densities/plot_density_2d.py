"""
A density in two dimensions
===========================

A density of samples along a spiral, which no Gaussian fits: the fit, its scores and its samples.
"""

# %%
# The samples
# -----------
#
# Two features of scikit-learn's swiss roll, in arbitrary units.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_swiss_roll

from skgbnf import GradientBoostedFlowDensity
from skgbnf.plotting import CoverageDisplay, DensityDisplay

names = ["first feature", "second feature"]
X, X_test = (make_swiss_roll(2500, noise=0.5, random_state=i)[0][:, [0, 2]] for i in range(2))

# %%
# The fit
# -------
#
# A tenth of the samples is set aside as validation set, which decides how long each round trains
# and how many rounds are kept.

model = GradientBoostedFlowDensity(3, max_iter=30, random_state=0).fit(X)
print(f"{model.n_estimators_} rounds, validation score {model.validation_scores_[-1]:.3f} nats")

# %%
# Scores
# ------
#
# ``score_samples`` is the log-density of each sample, in the units of the features. Its exponential
# at the points of a grid is the density; summed over the cells of a grid that contains all samples,
# it gives the probability inside, close to 1.

low, high = X.min(axis=0) - 3, X.max(axis=0) + 3
axes_of_grid = [np.linspace(*limits, 200) for limits in zip(low, high, strict=True)]
grid = np.stack(np.meshgrid(*axes_of_grid), axis=-1)
density = np.exp(model.score_samples(grid.reshape(-1, 2)))
cell = np.prod([axis[1] - axis[0] for axis in axes_of_grid])
print(f"probability inside the grid: {density.sum() * cell:.3f}")

# %%
# Regions of highest density
# --------------------------
#
# :class:`~skgbnf.plotting.DensityDisplay` draws nested regions of highest density, each with the
# fraction of the training samples that the legend gives. Beside them, as many samples of the model.

samples = model.sample(len(X), random_state=0)

figure, (left, right) = plt.subplots(
    1, 2, figsize=(10, 4.8), layout="constrained", sharex=True, sharey=True
)
DensityDisplay.from_estimator(model, X, feature_names=names, ax=left, scatter_kw={"alpha": 0.3})
left.set_title("training samples and regions of the density")
right.scatter(*samples.T, s=3, alpha=0.5, linewidths=0)
right.set(title="samples of the model", xlabel=names[0])
plt.show()

# %%
# Is it calibrated?
# -----------------
#
# If the density is true, 90 % of new samples are in the region that contains 90 % of its mass, and
# so on for every level. :class:`~skgbnf.plotting.CoverageDisplay` compares the two for samples that
# the model has not seen: below the diagonal it is too narrow, above it too wide.

CoverageDisplay.from_estimator(model, X_test, name="boosted flows", random_state=0)
plt.show()
