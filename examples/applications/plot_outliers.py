"""
Outliers
========

Samples of low density are candidates for outliers. :class:`~skgbnf.FlowOutlierDetector` flags them
and gives each a p-value. Here it is compared with :class:`~sklearn.ensemble.IsolationForest`.
"""

# %%
# Inliers and outliers
# --------------------
#
# The inliers form two moons. The outliers are spread evenly over a rectangle around them, so some
# lie on the moons, where nothing can find them.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_moons
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score, roc_auc_score

from skgbnf import FlowOutlierDetector, GradientBoostedFlowDensity
from skgbnf.plotting import OutlierDisplay

rng = np.random.default_rng(0)


def inliers_and_outliers(n_inliers, n_outliers, seed):
    inliers = make_moons(n_inliers, noise=0.06, random_state=seed)[0]
    outliers = rng.uniform([-1.6, -1.1], [2.6, 1.6], size=(n_outliers, 2))
    return np.concatenate([inliers, outliers]), np.repeat([False, True], [n_inliers, n_outliers])


X_train, _ = inliers_and_outliers(1000, 50, seed=0)
X_test, is_outlier = inliers_and_outliers(1000, 50, seed=1)

# %%
# Fits and scores
# ---------------
#
# Both are fitted to unlabelled samples that include outliers.

density = GradientBoostedFlowDensity(3, flow="nsf", max_iter=30)
detectors = {
    "low density": FlowOutlierDetector(density, contamination=0.05, random_state=0),
    "isolation forest": IsolationForest(contamination=0.05, random_state=0),
}

print(f"{'':<18}{'ROC AUC':>10}{'average precision':>20}{'flagged':>10}")
for name, detector in detectors.items():
    strangeness = -detector.fit(X_train).score_samples(X_test)
    auc = roc_auc_score(is_outlier, strangeness)
    precision = average_precision_score(is_outlier, strangeness)
    flagged = np.mean(detector.predict(X_test) == -1)
    print(f"{name:<18}{auc:>10.3f}{precision:>20.3f}{flagged:>10.1%}")

# %%
# Thresholds
# ----------
#
# The lines enclose the samples that are not flagged. Both take their threshold from the samples
# they were fitted to, so that a fraction ``contamination`` of these lies outside.

grid = np.stack(np.meshgrid(np.linspace(-1.7, 2.7, 200), np.linspace(-1.2, 1.7, 150)), axis=-1)
figure, axes = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained", sharey=True)
for ax, (name, detector) in zip(axes, detectors.items(), strict=True):
    decision = detector.decision_function(grid.reshape(-1, 2)).reshape(grid.shape[:2])
    ax.scatter(*X_test[~is_outlier].T, s=6, color="C0", label="inlier")
    ax.scatter(*X_test[is_outlier].T, s=14, color="C3", marker="x", label="outlier")
    ax.contour(grid[..., 0], grid[..., 1], decision, levels=[0], colors="k", linestyles="solid")
    ax.set_title(name)
axes[1].legend(loc="upper right")
plt.show()

# %%
# :class:`~skgbnf.plotting.OutlierDisplay` shows the log-densities of inliers and outliers, and the
# threshold.

detector = detectors["low density"]
OutlierDisplay.from_estimator(
    detector, X_test[~is_outlier], X_test[is_outlier], labels=("inliers", "outliers")
)
plt.show()

# %%
# P-values
# --------
#
# The p-value of a sample is the fraction of the calibration set, the sample itself included, that
# has no higher density. The density was not fitted to this set: it is higher on the samples it was
# fitted to, so the threshold above flags more of new samples. For a sample like those of the fit,
# the p-value is at most t with a probability of at most t, however poor the density is. This fit
# included outliers, so p-values of inliers are too large rather than too small.

p = detector.pvalues(X_test)
for t in (0.01, 0.05, 0.2):
    print(
        f"at most {t:g}: {np.mean(p[~is_outlier] <= t):.1%} of the inliers, "
        f"{np.mean(p[is_outlier] <= t):.1%} of the outliers"
    )

# %%
# A caution
# ---------
#
# A high density does not prove that a sample is an inlier. A density depends on the units and on
# how the table is written: a strictly increasing map of a feature changes which samples are the
# least likely. With many features there may be no sample where the density is highest, as below:
# nearly all samples of a Gaussian with 50 features lie far from its mode.

draws = rng.standard_normal((10_000, 50))
print(
    f"the nearest of {len(draws)} draws is {np.linalg.norm(draws, axis=1).min():.1f} from the mode"
)
