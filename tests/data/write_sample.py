"""Write the sample file of the present format version, which later versions must open.

Run once for each new format version, and commit what it writes; never again for an old one.

    python tests/data/write_sample.py
"""

import json
from pathlib import Path

import numpy as np

import skgbnf
from skgbnf.persistence import FORMAT_VERSION

HERE = Path(__file__).parent


def main() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 2)) @ [[2.0, 1.0], [0.0, 0.3]]
    samples = {}
    for name, parameters in {
        "mixture": {"flow": "nsf", "init": "student_t", "tol": 0.0},
        "geometric": {"flow": "realnvp", "base": "student_t", "combine": "product"},
    }.items():
        model = skgbnf.GradientBoostedFlowDensity(
            2, n_transforms=1, hidden_layer_sizes=(4,), max_iter=3, random_state=0, **parameters
        ).fit(X)
        file = f"v{FORMAT_VERSION}-{name}.safetensors"
        skgbnf.save(model, HERE / file)
        samples[file] = {"rows": X[:20].tolist(), "scores": model.score_samples(X[:20]).tolist()}
    path = HERE / f"v{FORMAT_VERSION}.json"
    path.write_text(json.dumps(samples, indent=1) + "\n")


if __name__ == "__main__":
    main()
