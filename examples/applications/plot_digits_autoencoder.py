"""
Digits from a latent plane
==========================

A variational autoencoder describes images of 64 pixels by two numbers. Its posterior, the
distribution of the point in the plane that an image may come from, is here a boosted mixture of
flows, so it need not be an ellipse. We fit :class:`~skgbnf.GradientBoostedFlowVAE` to the digits
that scikit-learn ships, look at reconstructions, draw new digits and decode a grid of points.
"""

# %%
# Fit
# ---
# Pixels have the levels 0 to 16, modelled by a discretised logistic distribution. A fifth of the
# images is set aside for the test.
import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import norm
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from skgbnf import GradientBoostedFlowVAE

images, labels = load_digits(return_X_y=True)
images = images.reshape(-1, 8, 8)
train, test, _, test_labels = train_test_split(images, labels, test_size=0.2, random_state=0)

vae = GradientBoostedFlowVAE(
    n_components=2,
    n_estimators=3,
    likelihood="discretized_logistic",
    n_levels=17,
    hidden_layer_sizes=(200, 200),
    max_iter=60,
    random_state=0,
).fit(train)

bits = -vae.score(test) / (64 * np.log(2))
print(f"{vae.n_estimators_} components with weights {vae.estimator_weights_.round(2)}")
print(f"{bits:.3f} bits per pixel on the test images")


# %%
# Reconstructions
# ---------------
# Test images above, their reconstructions from two numbers below.
def mosaic(ax, images, n_columns):
    """Show images in rows of `n_columns`, dark on light."""
    framed = np.pad(images, [(0, 0), (1, 1), (1, 1)])
    rows = framed.reshape(-1, n_columns, 10, 10)
    ax.imshow(rows.swapaxes(1, 2).reshape(len(rows) * 10, -1), cmap="gray_r", vmin=0, vmax=16)
    ax.set_axis_off()


figure, axes = plt.subplots(2, 1, figsize=(8, 1.7), layout="constrained")
mosaic(axes[0], test[:16], 16)
mosaic(axes[1], vae.reconstruct(test[:16]), 16)
axes[0].set_title("test images and their reconstructions", fontsize=11)
plt.show()

# %%
# New digits
# ----------
# :meth:`~skgbnf.GradientBoostedFlowVAE.sample` draws a point of the plane and then every pixel from
# its distribution. The means of the pixels are smoother.
figure, axes = plt.subplots(1, 2, figsize=(8, 4.2), layout="constrained")
for ax, noise, title in zip(axes, (False, True), ("means", "draws"), strict=True):
    mosaic(ax, vae.sample(100, random_state=0, noise=noise), 10)
    ax.set_title(f"new digits: {title} of pixels", fontsize=11)
plt.show()

# %%
# The latent plane
# ----------------
# Points at equal steps of probability under the standard normal, decoded; beside them, where the
# test images lie.
steps = norm.ppf(np.linspace(0.02, 0.98, 18))
plane = np.stack(np.meshgrid(steps, steps[::-1]), axis=-1).reshape(-1, 2)
places = norm.cdf(vae.transform(test))

figure, axes = plt.subplots(1, 2, figsize=(10, 5), layout="constrained")
mosaic(axes[0], vae.inverse_transform(plane), len(steps))
axes[0].set_title("the latent plane, decoded", fontsize=11)
points = axes[1].scatter(*places.T, c=test_labels, cmap="tab10", s=14, vmin=-0.5, vmax=9.5)
axes[1].set(xlim=(0, 1), ylim=(0, 1), xticks=[], yticks=[], aspect="equal")
axes[1].set_title("posterior means of test images", fontsize=11)
figure.colorbar(points, ax=axes[1], ticks=range(10), label="digit", shrink=0.8)
plt.show()

# %%
# Unusual digits
# --------------
# :meth:`~skgbnf.GradientBoostedFlowVAE.score_samples` is a lower bound on the log-density of an
# image. The likeliest test images have plain shapes; the least likely ones are hard to read.
order = vae.score_samples(test).argsort()
figure, axes = plt.subplots(2, 1, figsize=(8, 1.7), layout="constrained")
mosaic(axes[0], test[order[::-1][:16]], 16)
mosaic(axes[1], test[order[:16]], 16)
axes[0].set_title("likeliest test images, and least likely ones", fontsize=11)
plt.show()
