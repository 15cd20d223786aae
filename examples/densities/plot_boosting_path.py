"""
The path of boosting
====================

Each round adds a component to the mixture and refits all weights. The fitted estimator keeps the
gain of each round, and where boosting stopped.
"""

# %%
# The rounds
# ----------
#
# The first eight principal components of the digits. ``init=None`` skips the first rounds of the
# default, a Student t and a Gaussian mixture, so that all rounds are flows of one small family.

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
# ``train_scores_`` and ``validation_scores_`` hold the mean log-likelihoods of the training and of
# the validation set after each round, ``staged_weights_`` the weights of the components, and
# ``staged_score_samples`` scores any other samples. :class:`~skgbnf.plotting.BoostingPathDisplay`
# draws them all. The validation set chose the number of rounds and the weights; the test samples
# did not.

_, ax = plt.subplots(figsize=(7, 6), layout="constrained")
BoostingPathDisplay.from_estimator(model, X_test, ax=ax)
plt.show()

# %%
# Upper bounds on the gain
# ------------------------
#
# The gain bound of a new component is the mean ratio of its density to that of the mixture over the
# validation set, minus 1. It is the directional derivative of the likelihood, and no mixture weight
# gains more. Boosting stops where it falls below ``tol``; the first component has none.

for i, gain in enumerate(model.gains_[1:], start=2):
    won = model.validation_scores_[i - 1] - model.validation_scores_[i - 2]
    print(f"round {i}: could gain at most {gain:.3f} nats, gained {won:+.3f}")
