"""
Configurations of particles
===========================

A set of points has no first point and no direction. Its density should not change when the set is
moved, turned, reflected or renumbered. ``EquivariantFlowDensity`` has such densities only, so that
few samples say much.
"""

# %%
# Four particles in the plane
# ---------------------------
#
# Every pair likes two distances. Samples at temperature 1 come from many random walks, each step of
# which is taken or not by the rule of Metropolis.

import matplotlib.pyplot as plt
import numpy as np

from skgbnf import EquivariantFlowDensity, GradientBoostedFlowDensity

first, second = np.triu_indices(4, 1)


def distances(x):
    return np.linalg.norm(x[:, first] - x[:, second], axis=2)


def energy(x):
    stretch = distances(x) - 4
    return (-4 * stretch**2 + 0.9 * stretch**4).sum(axis=1)


rng = np.random.default_rng(0)
X = rng.normal(scale=2.5, size=(3000, 4, 2))
for _ in range(1500):
    proposed = X + rng.normal(scale=0.35, size=X.shape)
    taken = rng.random(len(X)) < np.exp(np.minimum(energy(X) - energy(proposed), 0))
    X[taken] = proposed[taken]
X_train, X_test = X[:1000], X[1000:]

# %%
# A density that knows the symmetries, and one that does not
# -----------------------------------------------------------
#
# Both get 1,000 configurations. The second sees centred coordinates, without the last particle,
# whose position follows from the others. Its scores are in other units: relative to the centre, a
# density is :math:`n^{d/2} = 4` times as high.

model = EquivariantFlowDensity(max_time=20, random_state=0).fit(X_train)


def without_last(x):
    return (x - x.mean(axis=1, keepdims=True))[:, :-1].reshape(len(x), -1)


table = GradientBoostedFlowDensity(max_time=20, random_state=0).fit(without_last(X_train))
scores = {
    "equivariant": model.score_samples(X_test),
    "of coordinates": table.score_samples(without_last(X_test)) - np.log(4),
}
for name, values in scores.items():
    print(f"{name:<16}{values.mean():7.2f} nats")

# %%
# Moved, turned and renumbered configurations have the scores that they had:

turn = np.array([[0.6, -0.8], [0.8, 0.6]])
moved = X_test[:, [3, 1, 0, 2]] @ turn + 100
print(f"largest change: {np.abs(model.score_samples(moved) - scores['equivariant']).max():.1e}")

# %%
# Samples
# -------
#
# Distances of pairs and energies tell whether samples are like the data.

drawn = {
    "equivariant": model.sample(2000, random_state=0),
    "of coordinates": np.concatenate(
        [rows := table.sample(2000, random_state=0).reshape(-1, 3, 2), -rows.sum(1, keepdims=True)],
        axis=1,
    ),
}
figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
for ax, measure, bins, label in (
    (axes[0], distances, np.linspace(0, 8, 60), "distance of a pair"),
    (axes[1], energy, np.linspace(-26, 10, 60), "energy"),
):
    ax.hist(measure(X_test).ravel(), bins, density=True, color="0.8", label="data")
    for name, x in drawn.items():
        ax.hist(measure(x).ravel(), bins, density=True, histtype="step", label=name)
    ax.set(xlabel=label, yticks=[])
axes[0].legend()

# %%
# A few of them, from the most to the least probable:

x = drawn["equivariant"][:200]
order = np.argsort(-model.score_samples(x))[::25]
figure, axes = plt.subplots(2, 4, figsize=(8, 4.2), layout="constrained")
for ax, k in zip(axes.flat, order, strict=True):
    for i, j in zip(first, second, strict=True):
        ax.plot(*x[k, [i, j]].T, color="0.85", zorder=0)
    ax.scatter(*x[k].T, s=60)
    ax.set(xlim=(-5, 5), ylim=(-5, 5), xticks=[], yticks=[], aspect="equal")
    ax.set_title(f"{model.score_samples(x[[k]])[0]:.1f} nats", fontsize=9)

# %%
# Reweighting
# -----------
#
# The density of each sample is known, so samples can be weighted to follow the energy exactly. The
# effective sample size says how much of them is left.

x = drawn["equivariant"]
log_weights = -energy(x) - model.score_samples(x)
weights = np.exp(log_weights - log_weights.max())
print(f"effective samples: {weights.sum() ** 2 / (weights**2).sum():.0f} of {len(x)}")
print(
    f"mean energy: {np.average(energy(x), weights=weights):.2f}, data {energy(X_test).mean():.2f}"
)
