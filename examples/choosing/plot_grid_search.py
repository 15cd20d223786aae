"""
Choosing parameters by grid search
==================================

``score`` is the mean log-density of samples, higher is better, so
:class:`~sklearn.model_selection.GridSearchCV` and its relatives work as for every scikit-learn
estimator, without a scorer.
"""

# %%
# The question
# ------------
#
# Four measurements of breast cancer cells. Which family of flows, and how large a learning rate?

import matplotlib.pyplot as plt
import pandas as pd
from sklearn.datasets import load_breast_cancer
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, ShuffleSplit, train_test_split

from skgbnf import GradientBoostedFlowDensity

X = load_breast_cancer().data[:, [0, 1, 4, 5]]
X_train, X_test = train_test_split(X, test_size=0.25, random_state=0)

# %%
# The search
# ----------
#
# Every candidate is scored on samples that it has not seen. The validation set of a fit, which
# stops it, is taken from its training samples.

search = GridSearchCV(
    GradientBoostedFlowDensity(2, init=None, max_iter=10, random_state=0),
    {"flow": ["affine", "maf", "nsf"], "learning_rate_init": [0.002, 0.006]},
    cv=ShuffleSplit(2, test_size=0.25, random_state=0),
)
search.fit(X_train)
table = pd.DataFrame(search.cv_results_)
print(table[["param_flow", "param_learning_rate_init", "mean_test_score", "std_test_score"]])

# %%
# "affine" is a Gaussian, fitted by EM: it has no learning rate, and its two lines agree. Compare
# candidates within a split: differences between splits are chance that all candidates share.

labels = table["param_flow"] + ", " + table["param_learning_rate_init"].astype(str)
figure, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
for i in range(search.n_splits_):
    ax.plot(table[f"split{i}_test_score"], labels, "o", color=f"C{i}", label=f"split {i}")
ax.set_xlabel("mean log-likelihood of samples left out, nats")
ax.grid(axis="y", color="0.9")
ax.invert_yaxis()
ax.legend()
plt.show()

# %%
# The best candidate
# ------------------
#
# The search has fitted the best candidate to all training samples. It is compared on test samples
# with a Gaussian mixture that was searched for in the same way. The splits chose the candidates, so
# only the test samples give fair scores.

mixtures = GridSearchCV(
    GaussianMixture(random_state=0, reg_covar=1e-8),
    {"n_components": [1, 2, 4, 8]},
    cv=search.cv,
).fit(X_train)
print("boosted flows   ", search.best_params_, f"{search.score(X_test):.3f}")
print("Gaussian mixture", mixtures.best_params_, f"{mixtures.score(X_test):.3f}")
