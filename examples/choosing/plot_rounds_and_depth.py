"""
Wider or deeper
===============

A budget of layers can be spent on one deep flow or on many shallow ones. Here both are varied; for
the same comparison at equal seconds on larger tables see the :doc:`benchmarks </benchmarks>`.
"""

# %%
# A table of clusters
# -------------------
#
# Eight clusters in two dimensions. An affine coupling layer is a weak component: it is invertible
# and smooth, and has to turn one cluster into eight.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_blobs
from sklearn.model_selection import train_test_split

from skgbnf import GradientBoostedFlowDensity

angles = np.arange(8) * np.pi / 4
centres = 4 * np.column_stack([np.cos(angles), np.sin(angles)])
X, _ = make_blobs(2000, centers=centres, cluster_std=0.5, random_state=0)
X_train, X_test = train_test_split(X, random_state=0)

# %%
# Rounds times layers
# -------------------
#
# Along a diagonal from the upper left to the lower right the product of rounds and layers, and with
# it the number of parameters, is about the same. ``n_iter_no_change`` keeps boosting from stopping
# early; rounds without a validation gain are dropped all the same.

rounds, layers = [1, 2, 4], [1, 2, 4]
scores = np.empty((len(rounds), len(layers)))
for i, n_estimators in enumerate(rounds):
    for j, n_transforms in enumerate(layers):
        model = GradientBoostedFlowDensity(
            n_estimators,
            flow="realnvp",
            n_transforms=n_transforms,
            hidden_layer_sizes=(32, 32),
            max_iter=15,
            n_iter_no_change=n_estimators,
            random_state=0,
        )
        scores[i, j] = model.fit(X_train).score(X_test)

# %%
# The true density is known here: eight Gaussians of equal weight.

squares = ((X_test[:, None] - centres) ** 2).sum(axis=2) / 0.5**2
truth = np.log(np.exp(-squares / 2).mean(axis=1) / (2 * np.pi * 0.5**2)).mean()

figure, ax = plt.subplots(figsize=(5, 4), layout="constrained")
image = ax.imshow(scores - truth, cmap="viridis", origin="lower")
for i, j in np.ndindex(scores.shape):
    dark = scores[i, j] < scores.mean()
    ax.text(j, i, f"{scores[i, j] - truth:.2f}", ha="center", color="w" if dark else "k")
ax.set(xlabel="layers of a component", ylabel="rounds")
ax.set_xticks(range(len(layers)), layers)
ax.set_yticks(range(len(rounds)), rounds)
figure.colorbar(image, label="test log-likelihood minus that of the truth, nats")
plt.show()

# %%
# More of both
# ------------
#
# The best of this grid, and the gains of more layers alone and of more rounds alone.

i, j = np.unravel_index(scores.argmax(), scores.shape)
print(f"best: {rounds[i]} rounds of {layers[j]} layers")
print(f"4 layers instead of 1, one round: {scores[0, -1] - scores[0, 0]:+.2f} nats")
print(f"4 rounds instead of 1, one layer: {scores[-1, 0] - scores[0, 0]:+.2f} nats")
