"""
Predictive distributions
========================

A regressor whose prediction is a density: its quantiles, its branches, and whether it is right.
"""

# %%
# A target with two branches
# --------------------------
#
# The target goes up or down with the feature, with equal probability, and its noise grows. The mean
# is zero everywhere and says nothing.

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import norm
from sklearn.datasets import load_diabetes
from sklearn.model_selection import train_test_split

from skgbnf import GradientBoostedFlowRegressor
from skgbnf.plotting import PITDisplay, PredictiveDisplay


def draw(n_samples, seed):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, size=n_samples)
    spread = 0.1 + 0.3 * np.abs(x)
    y = np.where(rng.random(n_samples) < 0.5, 2 * x, -2 * x) + spread * rng.normal(size=n_samples)
    branches = [np.log(0.5) + norm.logpdf(y, sign * 2 * x, spread) for sign in (1, -1)]
    return x[:, None], y, np.logaddexp(*branches)


X, y, _ = draw(3000, 0)
model = GradientBoostedFlowRegressor(3, context_model=None, max_iter=20, random_state=0).fit(X, y)

X_test, y_test, log_truth = draw(2000, 1)
divergence = (log_truth - model.score_samples(X_test, y_test)).mean()
print(f"Kullback-Leibler divergence from the truth: {divergence:.3f} nats")

display = PredictiveDisplay.from_estimator(model, X_test, y_test)
plt.show()

# %%
# The bands hold half and nine tenths of the probability. Between the branches there is none, which
# only the density shows.
#
# A real set
# ----------
#
# The progression of diabetes a year after ten measurements of 442 patients. The models of the mean
# are fitted out of folds, and so are the components.

X, y = load_diabetes(return_X_y=True, as_frame=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
model = GradientBoostedFlowRegressor(3, max_iter=5, random_state=0).fit(X_train, y_train)

low, high = model.predict_interval(X_test, coverage=0.9).T
print(f"coefficient of determination: {model.score(X_test, y_test):.2f}")
print(f"mean log-density: {model.score_samples(X_test, y_test).mean():.2f} nats")
print(f"targets within intervals of 90 %: {np.mean((low < y_test) & (y_test < high)):.2f}")

figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
PredictiveDisplay.from_estimator(model, X_test, y_test, feature="bmi", ax=axes[0])
PITDisplay.from_estimator(model, X_test, y_test, n_bins=10, ax=axes[1])
plt.show()
