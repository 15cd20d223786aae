"""
A table of categories, numbers and gaps
=======================================

Tables are seldom numbers alone. A density of one with categories, dates, gaps and zeros beside
amounts is fitted like any other, and says more than a score of each row: what a row lacks, and why
a row is strange.
"""

# %%
# A table
# -------
#
# Wines that scikit-learn ships: three measurements and the grower. Beside them stand columns that
# are drawn here: bottles sold, what a tasting cost, zero for most, and the day of delivery. A tenth
# of the cells of two columns is missing.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.datasets import load_wine

from skgbnf import FlowOutlierDetector, GradientBoostedFlowDensity
from skgbnf.plotting import ExplanationDisplay

rng = np.random.default_rng(0)
wine = load_wine(as_frame=True)
grower = pd.Series(np.array(["Arno", "Bice", "Carlo"])[wine.target])
proline = wine.data["proline"]
rate = np.where(grower == "Bice", 6, 2)
table = pd.DataFrame(
    {
        "grower": grower.astype("category"),
        "alcohol": wine.data["alcohol"],
        "proline": proline.astype(int),
        "flavanoids": wine.data["flavanoids"],
        "bottles": rng.poisson(rate),
        "tasting": np.where(rng.random(len(proline)) < 0.6, 0.0, proline * rng.gamma(9, 0.01)),
        "delivered": pd.Timestamp("2026-01-05")
        + pd.to_timedelta(7 * rng.integers(0, 30, 178), "D"),
    }
)
complete = table.copy()
for column in ("grower", "flavanoids"):
    table.loc[rng.random(len(table)) < 0.1, column] = None
print(table.head())

# %%
# The density
# -----------
#
# ``fit`` finds out what each column holds. Categories, counts and zeros have probabilities, all
# else a density by length. Classes of Gaussians and frequencies are fitted within
# seconds; without ``flow``, networks follow them. The density is that of an outlier detector, which
# is needed below.

density = GradientBoostedFlowDensity(2, flow="location_mixture", n_folds=3, max_time=10)
detector = FlowOutlierDetector(density, random_state=0).fit(table)
model = detector.estimator_
for name, column in zip(table, model.columns_, strict=True):
    print(f"{name:<11} {column.kind:<12} {column.summary()}")

# %%
# Samples beside data
# -------------------
#
# ``sample_frame`` returns a frame like the one of ``fit``.

drawn = model.sample_frame(178, random_state=0)
print(drawn.head())

figure, axes = plt.subplots(1, 3, figsize=(10, 3.6), layout="constrained")
for ax, frame, title in zip(axes, (complete, drawn), ("data", "samples"), strict=False):
    for name, part in frame.groupby("grower", observed=True):
        ax.scatter(part["alcohol"], part["flavanoids"], s=10, label=name)
    ax.set(title=title, xlabel="alcohol", xlim=(10.8, 15), ylim=(0, 5.3))
axes[0].set_ylabel("flavanoids")
axes[0].legend()
for frame, title, shift, color in (
    (complete, "data", -0.2, "0.7"),
    (model.sample_frame(5000, random_state=0), "samples", 0.2, "C3"),
):
    shares = frame["bottles"].value_counts(normalize=True)
    axes[2].bar(shares.index + shift, shares, 0.4, label=title, color=color)
axes[2].set(xlabel="bottles", ylabel="fraction of the rows")
axes[2].legend()
plt.show()

# %%
# A row completed
# ---------------
#
# A wine whose grower is not known: the density gives each grower a probability, which is exact, by
# the sum over all three. Of missing numbers it draws values.

row = complete[["alcohol", "proline", "flavanoids"]].iloc[[60]].reindex(columns=table.columns)
print(row.iloc[0].dropna())
growers = pd.concat([row.assign(grower=name) for name in table["grower"].cat.categories])
measured = ["alcohol", "proline", "flavanoids"]
log_probability = model.conditional_score_samples(growers, given=measured)
for name, value in zip(growers["grower"], np.exp(log_probability), strict=True):
    print(f"{name:<6} {value:.3f}")
print(model.sample_missing(row, 5, random_state=0)[["grower", "bottles", "tasting"]])

# %%
# A row explained
# ---------------
#
# Of a wine that is said to be another grower's, each value is usual by itself. ``explain`` says
# which one does not suit the others.

swapped = complete.iloc[[1]].assign(grower="Carlo")
print(detector.explain(swapped).iloc[0].round(1))
display = ExplanationDisplay.from_estimator(detector, swapped)
plt.show()
