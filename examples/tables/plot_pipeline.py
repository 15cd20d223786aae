"""
A pipeline with principal components
====================================

Images have too many features, and nearly dependent ones. A density of their principal components is
feasible, and its samples can be mapped back to images.
"""

# %%
# The pipeline
# ------------
#
# The density standardises its features, so no scaler is needed. ``score`` and ``score_samples`` of
# the pipeline are about the principal components, not the pixels, so scores of pipelines with
# different numbers of components are not comparable.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from skgbnf import GradientBoostedFlowDensity

X_train, X_test = train_test_split(load_digits().data, random_state=0)
pca = PCA(12, random_state=0)
density = GradientBoostedFlowDensity(3, max_iter=25, random_state=0)
pipeline = make_pipeline(pca, density).fit(X_train)
print(f"{pipeline.score(X_test):.3f} nats, mean of the test samples")

# %%
# New digits
# ----------
#
# A pipeline has no ``sample``, but its last step has. It draws principal components, and
# ``inverse_transform`` of the first step turns them into images. Samples of a Gaussian over the
# components, the other natural choice, are drawn as well.

rng = np.random.default_rng(0)
Z = pca.transform(X_train)
gaussian = rng.multivariate_normal(Z.mean(axis=0), np.cov(Z.T), size=20)
images = {
    "test images": X_test[:20],
    "test images, 12 components": pca.inverse_transform(pca.transform(X_test[:20])),
    "boosted flows": pca.inverse_transform(density.sample(20, random_state=0)),
    "Gaussian": pca.inverse_transform(gaussian),
}


def montage(X):
    """Twenty images in two lines of ten."""
    images = np.pad(X.reshape(2, 10, 8, 8), ((0, 0), (0, 0), (1, 1), (1, 1)))
    return images.transpose(0, 2, 1, 3).reshape(20, 100)


figure, axes = plt.subplots(4, 1, figsize=(8, 7), layout="constrained")
for ax, (name, shown) in zip(axes, images.items(), strict=True):
    ax.imshow(montage(shown), cmap="gray_r", vmin=0, vmax=16)
    ax.set_title(name, loc="left")
    ax.set_axis_off()
plt.show()

# %%
# The least likely digits
# -----------------------
#
# The log-density ranks images: these are the test images with the lowest and with the highest.

order = np.argsort(pipeline.score_samples(X_test))
figure, axes = plt.subplots(2, 1, figsize=(8, 3.8), layout="constrained")
for ax, name, chosen in zip(axes, ("lowest", "highest"), (order[:20], order[-20:]), strict=True):
    ax.imshow(montage(X_test[chosen]), cmap="gray_r", vmin=0, vmax=16)
    ax.set_title(f"{name} density", loc="left")
    ax.set_axis_off()
plt.show()
