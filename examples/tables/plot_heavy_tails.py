"""
Heavy tails
===========

Samples far out decide means of log-likelihoods. A flow maps samples onto a base density, and if
that has light tails, so has the flow: far samples become absurdly unlikely. ``base="student_t"``
has heavy tails.
"""

# %%
# Samples with heavy tails
# ------------------------
#
# Two features with Student t marginals of two degrees of freedom, whose variance is infinite, and a
# Gaussian copula.

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import multivariate_normal, norm, t
from sklearn.model_selection import train_test_split

from skgbnf import GradientBoostedFlowDensity

copula, marginal = multivariate_normal(cov=[[1.0, 0.6], [0.6, 1.0]], seed=0), t(df=2)


def log_truth(X):
    Z = norm.ppf(marginal.cdf(X))
    return copula.logpdf(Z) + (marginal.logpdf(X) - norm.logpdf(Z)).sum(axis=1)


X = marginal.ppf(norm.cdf(copula.rvs(4000)))
X_train, X_test = train_test_split(X, random_state=0)

# %%
# Three fits
# ----------
#
# The first two are one flow each. The third is the default estimator: its first round is a Student
# t, so it handles such samples by default.

models = {
    'base="normal"': GradientBoostedFlowDensity(1, flow="nsf", max_iter=20, random_state=0),
    'base="student_t"': GradientBoostedFlowDensity(
        1, flow="nsf", base="student_t", max_iter=20, random_state=0
    ),
    "default, 3 rounds": GradientBoostedFlowDensity(3, max_iter=20, random_state=0),
}
print(f"{'':<20}  mean  median      worst   (truth minus fit, nats)")
for name, model in models.items():
    loss = log_truth(X_test) - model.fit(X_train).score_samples(X_test)
    print(f"{name:<20}{loss.mean():6.3f}{np.median(loss):8.3f}{loss.max():11.2f}")

# %%
# The mean estimates the Kullback-Leibler divergence of the fit from the truth, 0 for a perfect fit.
# The median is about ordinary samples, and the last number about the worst test sample.
#
# Along a ray
# -----------
#
# Along the first feature the true log-density falls with the logarithm of the distance. The
# training samples end at the dotted line. Within their range a flow can learn any tail; beyond it,
# each shows what it assumes. From a normal base the log-density falls with the square of the
# distance, and one sample far enough out decides any mean.

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
