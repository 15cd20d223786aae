"""
The path of boosting
====================

Each round adds a component to the mixture and fits all weights anew. What each round brought, and
where boosting stopped, can be read from the fitted estimator.
"""

# %%
# The rounds
# ----------
#
# The first eight principal components of the digits. ``init=None`` leaves out the first rounds of
# the default, a Student t and a Gaussian mixture, so that all rounds are flows of one small family.

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split

from skgbnf import GradientBoostedFlowDensity
from skgbnf.plotting import BoostingPathDisplay

X = PCA(8, random_state=0).fit_transform(load_digits().data)
X_train, X_test = train_test_split(X, random_state=0)

model = GradientBoostedFlowDensity(
    5, flow="maf", init=None, n_transforms=1, max_iter=30, n_iter_no_change=5, random_state=0
).fit(X_train)

# %%
# Log-likelihood by round
# -----------------------
#
# ``train_scores_`` and ``validation_scores_`` hold the means of the training and of the held-out
# rows after each round, ``staged_score_samples`` gives those of any other rows, and
# ``staged_weights_`` the weights of the components. :class:`~skgbnf.plotting.BoostingPathDisplay`
# draws them all. The held-out rows chose the number of rounds and the weights; the test rows did
# not.

_, ax = plt.subplots(figsize=(7, 6), layout="constrained")
BoostingPathDisplay.from_estimator(model, X_test, ax=ax)
plt.show()

# %%
# What was still to be gained
# ---------------------------
#
# Before a component is added, its density is compared with that of the mixture: the held-out mean
# of their ratio, less 1, bounds what any weight for it can gain. Boosting stops where that falls
# below ``tol``; the first component has nothing to be compared with.

for i, gain in enumerate(model.gains_[1:], start=2):
    won = model.validation_scores_[i - 1] - model.validation_scores_[i - 2]
    print(f"round {i}: could gain at most {gain:.3f} nats, gained {won:+.3f}")
