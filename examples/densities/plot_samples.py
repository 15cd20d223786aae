"""
Sampling a table, and testing the samples
=========================================

Are samples of a density like the data it was fitted to? A classifier that tries to tell them apart
is a strict test: if it does no better than chance, they are.
"""

# %%
# A table
# -------
#
# Five measurements of breast cancer cells.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import cross_val_predict, train_test_split

from skgbnf import GradientBoostedFlowDensity

data = load_breast_cancer()
columns = [0, 1, 4, 5, 6]
names = data.feature_names[columns]
X_train, X_test = train_test_split(data.data[:, columns], test_size=0.4, random_state=0)

# %%
# Two models
# ----------
#
# The boosted density, with a lower bound of zero for all measurements, and a single Gaussian, which
# has nothing but means and covariances.

boosted = GradientBoostedFlowDensity(3, max_iter=30, bounds=(0, None), random_state=0)
boosted.fit(X_train)
gaussian = GaussianMixture(1, reg_covar=1e-9, random_state=0).fit(X_train)
samples = {
    "boosted flows": boosted.sample(len(X_test), random_state=0),
    "Gaussian": gaussian.sample(len(X_test))[0],
    "training data": X_train[: len(X_test)],
}

# %%
# The test
# --------
#
# A random forest is trained to tell samples from test data, which no density has seen, and is
# scored by cross-validation. An area under the ROC curve of 0.5 is chance, 1 is perfect
# recognition. The training data of the table itself shows how far chance alone deviates from 0.5.


def recognition(drawn, data):
    X = np.concatenate([drawn, data])
    is_data = np.repeat([0, 1], [len(drawn), len(data)])
    forest = RandomForestClassifier(200, min_samples_leaf=5, random_state=0)
    chances = cross_val_predict(forest, X, is_data, cv=5, method="predict_proba")[:, 1]
    return roc_auc_score(is_data, chances)


for name, drawn in samples.items():
    print(f"{name:<16}{recognition(drawn, X_test):.3f}")

# %%
# Data and samples
# ----------------
#
# One pair of features, on common axes. The Gaussian cannot bend, and it goes below zero.

i, j = 3, 4
figure, axes = plt.subplots(1, 3, figsize=(10, 3.6), layout="constrained", sharex=True, sharey=True)
axes[0].scatter(X_test[:, i], X_test[:, j], s=8, alpha=0.6)
axes[0].set(title="test data", ylabel=names[j])
for ax, name in zip(axes[1:], ("boosted flows", "Gaussian"), strict=True):
    ax.scatter(samples[name][:, i], samples[name][:, j], s=8, alpha=0.6, color="C1")
    ax.set_title(name)
for ax in axes:
    ax.set_xlabel(names[i])
    ax.axhline(0, color="0.7", linewidth=0.8, zorder=0)
plt.show()
