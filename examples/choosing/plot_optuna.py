"""
A search by optuna
==================

If a grid would be too large, optuna's ``OptunaSearchCV`` proposes each candidate from the scores of
those before. It is used like the searches of scikit-learn.
"""

# %%
# The space
# ---------
#
# Distributions give the range and the scale of each parameter. This needs ``optuna-integration``.

import warnings

import matplotlib.pyplot as plt
import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna_integration import OptunaSearchCV
from sklearn.datasets import load_diabetes
from sklearn.model_selection import ShuffleSplit, train_test_split

from skgbnf import GradientBoostedFlowDensity

X = load_diabetes().data[:, 2:6]
X_train, X_test = train_test_split(X, random_state=0)

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
warnings.filterwarnings("ignore", message=".*optuna.terminator.*", category=FutureWarning)
search = OptunaSearchCV(
    GradientBoostedFlowDensity(2, init=None, max_iter=10, random_state=0, dequantize=True),
    {
        "flow": CategoricalDistribution(["maf", "nsf"]),
        "learning_rate_init": FloatDistribution(1e-3, 3e-2, log=True),
        "n_transforms": IntDistribution(1, 4),
    },
    cv=ShuffleSplit(2, test_size=0.25, random_state=0),
    n_trials=8,
    random_state=0,
)
search.fit(X_train)
print(search.best_params_)
print(f"test samples: {search.score(X_test):.3f} nats")

# %%
# The trials
# ----------
#
# Optuna draws the first ones at random.

trials = search.trials_dataframe()
best_so_far = trials["value"].cummax()
figure, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
for name, group in trials.groupby("params_flow"):
    ax.scatter(group["number"], group["value"], label=name)
ax.step(trials["number"], best_so_far, where="post", color="0.5", label="best so far")
ax.set(xlabel="trial", ylabel="mean log-likelihood of samples left out, nats")
ax.legend()
plt.show()
