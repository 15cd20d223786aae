"""
Heavy tails
===========

Means of log-likelihoods are decided by the rows far out. A flow maps rows onto a base density, and
if that has light tails, so has the flow: far rows become absurdly unlikely. ``base="student_t"``
gives it heavy ones.
"""

# %%
# Rows with heavy tails
# ---------------------
#
# Two columns with the margins of a Student t of two degrees of freedom, whose variance is infinite,
# dependent as those of a Gaussian are.

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import multivariate_normal, norm, t
from sklearn.model_selection import train_test_split

from skgbnf import GradientBoostedFlowDensity

copula, margin = multivariate_normal(cov=[[1.0, 0.6], [0.6, 1.0]], seed=0), t(df=2)


def log_truth(X):
    Z = norm.ppf(margin.cdf(X))
    return copula.logpdf(Z) + (margin.logpdf(X) - norm.logpdf(Z)).sum(axis=1)


X = margin.ppf(norm.cdf(copula.rvs(4000)))
X_train, X_test = train_test_split(X, random_state=0)

# %%
# Three fits
# ----------
#
# The first two are one flow each. The third is the default estimator: its first round is a Student
# t, so that it copes with such rows without being told.

models = {
    'base="normal"': GradientBoostedFlowDensity(1, flow="nsf", max_iter=20, random_state=0),
    'base="student_t"': GradientBoostedFlowDensity(
        1, flow="nsf", base="student_t", max_iter=20, random_state=0
    ),
    "default, 3 rounds": GradientBoostedFlowDensity(3, max_iter=20, random_state=0),
}
print(f"{'':<20}  mean  median  worst row   (truth less fit, nats)")
for name, model in models.items():
    loss = log_truth(X_test) - model.fit(X_train).score_samples(X_test)
    print(f"{name:<20}{loss.mean():6.3f}{np.median(loss):8.3f}{loss.max():11.2f}")

# %%
# The mean of the first column is an estimate of the Kullback-Leibler divergence of the fit from the
# truth, 0 for a perfect one. The medians say how the fits do on ordinary rows, the last column what
# the worst of the test rows costs.
#
# Along a ray
# -----------
#
# Outwards along the first column the true log-density falls with the logarithm of the distance.
# The training rows end at the dotted line. Within their reach a flow can learn any tail; beyond it,
# each shows what it assumes. From a normal base the log-density falls with the square of the
# distance, and one row far enough out decides any mean.

distances = np.geomspace(0.1, 1e4, 200)
ray = distances[:, None] * [1.0, 0.0]
reach = X_train[:, 0].max()

figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
ax.plot(distances, log_truth(ray), "k--", label="truth")
for name, model in models.items():
    ax.plot(distances, model.score_samples(ray), label=name)
ax.axvline(reach, color="0.5", linestyle=":")
ax.set(xscale="log", ylim=(-250, 0), xlabel="distance from the centre", ylabel="log-density, nats")
ax.legend(loc="lower left")
plt.show()
