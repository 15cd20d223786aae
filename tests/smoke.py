"""A fit, scores, samples and a file with the installed package; run by ``make dist``."""

import tempfile
from importlib.resources import files
from pathlib import Path

import numpy as np
from sklearn.datasets import load_iris

import skgbnf


def main() -> None:
    assert "site-packages" in Path(skgbnf.__file__).parts, f"imported {skgbnf.__file__}"
    assert files("skgbnf").joinpath("py.typed").is_file()
    X = load_iris().data
    model = skgbnf.GradientBoostedFlowDensity(2, max_iter=2, dequantize=True, random_state=0)
    scores = model.fit(X).score_samples(X)
    assert np.isfinite(scores).all()
    assert model.sample(5, random_state=0).shape == (5, 4)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "iris.safetensors")
        skgbnf.save(model, path)
        assert np.array_equal(skgbnf.load(path).score_samples(X), scores)
    print(f"skgbnf {skgbnf.__version__} fits, samples, saves and loads.")


if __name__ == "__main__":
    main()
