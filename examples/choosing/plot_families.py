"""
Families and bases
==================

Every family of components and every base on the same samples: which shapes one component can fit,
which families leave bridges of density between clusters, and how the density falls beyond the data.
"""

# %%
# The samples
# -----------
#
# Two moons, and a blob below them that lies apart.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_moons

from skgbnf import CopulaBase, GradientBoostedFlowDensity
from skgbnf.diagnostics import jacobian_report
from skgbnf.flows import BASES, family_names

rng = np.random.default_rng(0)
moons = make_moons(900, noise=0.07, random_state=0)[0]
X = np.vstack([moons, rng.normal([0.5, -1.5], [0.25, 0.12], size=(300, 2))])
X_test = np.vstack([
    make_moons(900, noise=0.07, random_state=1)[0],
    rng.normal([0.5, -1.5], [0.25, 0.12], size=(300, 2)),
])  # fmt: skip


def draw(models, suptitle, reach, lowest):
    """Log-densities of several models within a box, and their test scores."""
    n_columns = min(len(models), 4)
    n_rows = -(-len(models) // n_columns)
    figure, axes = plt.subplots(
        n_rows, n_columns, figsize=(10, 0.5 + 9 / n_columns * n_rows), layout="constrained",
        squeeze=False,
    )  # fmt: skip
    for ax in axes.flat:
        ax.set_axis_off()
    sides = np.array([[0.5], [-0.3]]) + np.linspace(-reach, reach, 150)
    grid = np.stack(np.meshgrid(*sides), axis=-1)
    for ax, (name, model) in zip(axes.flat, models.items(), strict=False):
        scores = model.score_samples(grid.reshape(-1, 2)).reshape(grid.shape[:2])
        image = ax.pcolormesh(*sides, scores, vmin=lowest, vmax=1, rasterized=True)
        ax.set_title(f"{name}\n{model.score(X_test):.2f} nats", fontsize="medium")
        ax.set_aspect("equal")
    figure.colorbar(image, ax=axes, label="log-density, nats", extend="min")
    figure.suptitle(suptitle)
    plt.show()


# %%
# Families
# --------
#
# One component of each, on the default base. "affine" and "student_t" are single ellipses,
# "gaussian_mixture" has as many as the validation set chooses. Maps are continuous: one that pulls
# clusters apart leaves bridges between them, thinner with longer training. Boosting adds
# components, each of which may fit a part of the samples.

settings = {"max_iter": 30, "batch_size": 128, "hidden_layer_sizes": (32, 32), "random_state": 0}
families = {
    name: GradientBoostedFlowDensity(1, flow=name, **settings).fit(X) for name in family_names()
}
draw(families, "one component, and the mean log-likelihood of test samples", reach=2.2, lowest=-8)

# %%
# Bases
# -----
#
# One family of maps on each base, and behind a layer that removes the tails of the features, seen
# from further away. They agree near the samples; beyond them, heavy tails let the density fall more
# slowly.

choices = {f'base="{name}"': {"base": name} for name in BASES}
choices['CopulaBase("gaussian")'] = {"base": CopulaBase("gaussian")}
choices['tail="transform"'] = {"tail": "transform"}
bases = {
    name: GradientBoostedFlowDensity(1, flow="nsf_coupling", **choice, **settings).fit(X)
    for name, choice in choices.items()
}
draw(bases, "bases, and the mean log-likelihood of test samples", reach=8, lowest=-30)

# %%
# How much the maps stretch
# -------------------------
#
# A map stretches where samples are dense and shrinks where there are none.
# :func:`~skgbnf.diagnostics.jacobian_report` measures it: medians over samples of the largest
# stretch of the map and of its inverse. :class:`~skgbnf.plotting.JacobianDisplay` draws it.

for name in family_names(invertible=True):
    report = jacobian_report(families[name], X_test, random_state=0)
    there, back = (
        np.median(values[0, :, 0])
        for values in (report.singular_values, report.inverse_singular_values)
    )
    print(f"{name:<15} map {there:6.2f}   inverse {back:6.2f}")
