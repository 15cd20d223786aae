"""
Two instruments, one table
==========================

Two instruments measure the same things in different units and with different distortions, and no
sample was measured by both. :class:`~skgbnf.FlowAligner` brings the rows of one into the units of
the other.
"""

# %%
# Measurements
# ------------
#
# Each instrument measures half of the samples: the second one turns and stretches what the first
# one would have seen.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_moons

from skgbnf import FlowAligner
from skgbnf.metrics import cycle_error, sliced_wasserstein, two_sample_auc
from skgbnf.plotting import AlignmentDisplay

truth, label = make_moons(800, noise=0.08, random_state=0)
instrument = np.random.default_rng(0).choice(["first", "second"], len(truth))
second = instrument == "second"
angle = np.deg2rad(35)
turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
X = truth.copy()
X[second] = truth[second] @ turn.T * [1.5, 0.8] + [1.0, -1.5]

# %%
# Alignment
# ---------
#
# A mixture is boosted on the rows of the first instrument, and a map of the others onto it grows
# from the identity, layer by layer.

aligner = FlowAligner(reference="first", random_state=0)
Z = aligner.fit_transform(X, domain=instrument)
print("layers of the maps:", dict(zip(aligner.domains_.tolist(), aligner.layers_, strict=True)))
print("error of the recovered rows:", np.sqrt(np.mean((Z[second] - truth[second]) ** 2)).round(3))
print("there and back:", cycle_error(aligner, X[second], "second", "first"))
AlignmentDisplay.from_estimator(aligner, X, instrument)
plt.show()

# %%
# Other shares of classes
# -----------------------
#
# Now the second instrument sees mostly one of the moons. The components of the mixture have other
# weights there, and rows are not moved for it. Matching means and variances is misled.

kept = ~second | (label == 1) | (np.arange(len(X)) % 5 == 0)
aligner = FlowAligner(reference="first", random_state=0)
Z = aligner.fit_transform(X[kept], domain=instrument[kept])
mine = second[kept]
first = truth[kept][~mine]
moments = (X[kept][mine] - X[kept][mine].mean(0)) / X[kept][mine].std(0)
moments = moments * first.std(0) + first.mean(0)
for name, rows in (("FlowAligner", Z[mine]), ("means and variances", moments)):
    error = np.sqrt(np.mean((rows - truth[kept][mine]) ** 2))
    print(f"{name}: error {error:.3f}")
print("weights of the components:", aligner.component_weights_.round(2).tolist(), sep="\n")

# %%
# How far apart are they?
# -----------------------
#
# The domains still differ, as they should: a small distance or an AUC of 0.5 is the aim only where
# both have the same shares of classes.

print("sliced Wasserstein distance:", round(sliced_wasserstein(Z[mine], Z[~mine]), 3))
print("AUC:", round(two_sample_auc(Z[mine], Z[~mine]), 3))
AlignmentDisplay.from_estimator(aligner, X[kept], instrument[kept])
plt.show()
