"""Files that claim sizes: what they hold is known before anything of that size is made."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from helpers import joined, split

import skgbnf
from skgbnf import FlowOutlierDetector, GradientBoostedFlowVAE, fit_to_log_prob
from skgbnf._shapes import shapes_of
from skgbnf.flows import Architecture, CopulaBase, families, family_names
from skgbnf.training.fitted import FittedComponent
from skgbnf.vae.networks import NETWORKS, NetworkArchitecture

OPEN_ALL = """
import json, resource, sys, time
import skgbnf
for line in open("/proc/self/status") if sys.platform == "linux" else []:
    if line.startswith("VmSize"):
        limit = int(line.split()[1]) * 1024 + 100_000_000
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for path in sys.argv[1:]:
    start = time.process_time()
    try:
        skgbnf.load(path)
        outcome = "loaded"
    except Exception as error:
        outcome = type(error).__name__
    print(json.dumps([path, outcome, time.process_time() - start]))
"""
"""In a process of its own, which may take 100 megabytes more than it holds after the imports."""


def written(estimator, folder, changes):
    """Paths of a file for each change of its data and arrays."""
    skgbnf.save(estimator, folder / "good")
    content = (folder / "good").read_bytes()
    paths = []
    for name, change in changes.items():
        metadata, model, arrays = split(content)
        change(model["data"], arrays)
        paths.append(folder / name)
        paths[-1].write_bytes(joined(metadata, model, arrays))
    return paths


def assert_refused_at_once(paths):
    command = [sys.executable, "-c", OPEN_ALL, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    outcomes = [json.loads(line) for line in done.stdout.splitlines()]
    assert [path for path, *_ in outcomes] == [*map(str, paths)], done.stderr
    for path, outcome, seconds in outcomes:
        assert (outcome, seconds < 3) == ("ValueError", True), (path, outcome, seconds)


def claim(n_values=0, n_arrays=0, **fields):
    """Change the first component, and pay for what it claims by arrays that mean nothing."""

    def change(data, arrays):
        component = components_of(data)[0]
        component["architecture"].update(fields)
        pay(component, arrays, n_values, n_arrays)

    return change


def components_of(data):
    """The components in the data of a file, wherever they are."""
    if "densities" in data:
        return components_of(data["densities"][0])
    fitted = data.get("fitted", data)
    combination = next(fitted[k] for k in ("combination", "posterior", "mixture") if k in fitted)
    return combination["components"]


def pay(component, arrays, n_values, n_arrays=0):
    """Give a component arrays that mean nothing."""
    sizes = {"paid": n_values, **{f"paid{i}": 0 for i in range(n_arrays)}}
    for name, size in sizes.items():
        key = f"{name} of {len(arrays)}"
        component["arrays"][name] = {"array": key}
        arrays[key] = np.zeros(size, np.uint8)


def repeated(n_times):
    """More components of the same arrays."""

    def change(data, arrays):
        components = components_of(data)
        components[:] = components[:1] * n_times

    return change


def with_weights_for(n_components):
    def change(data, arrays):
        repeated(n_components)(data, arrays)
        weights = np.tril(np.ones((n_components, n_components)))
        arrays["fitted.combination.staged_weights"] = weights / weights.sum(axis=1, keepdims=True)
        for name, array in arrays.items():
            if name.startswith("fitted.history."):
                arrays[name] = np.repeat(array, n_components)

    return change


def copula(**fields):
    base = {"copula": "gaussian", "marginals": "student_t", "df": "learn"}
    return claim(9000, base=base, **fields)


CLAIMS = {
    "one column, a context": claim(n_context=1, hidden_layer_sizes=[12_000, 12_000]),
    "one Gaussian": claim(8000, family="affine", n_features=8000),
    "one Student t": claim(8000, family="student_t", n_features=8000),
    "wide Gaussians": claim(8000, family="gaussian_mixture", n_features=8000),
    "many Gaussians": claim(8000, family="gaussian_mixture", n_components=4000),
    "a wide mixture": claim(9000, family="gaussian_mixture", n_features=90, n_components=100),
    "a copula": copula(family="affine", n_features=8000),
    "a copula and networks": copula(family="maf", n_features=2000, hidden_layer_sizes=[1]),
    "deep networks": claim(9000, 400, family="maf", n_transforms=400, n_features=2),
    "deep, of one column": claim(9000, 400, family="nsf", n_transforms=401, n_features=1),
    "deep, wide layers": claim(9000, 20, family="linear", n_transforms=20, n_features=400),
    "a graph": claim(9000, 20, family="graphical", n_features=2900, hidden_layer_sizes=[1]),
    "masks": claim(9000, 20, family="nsf", n_features=90, hidden_layer_sizes=[90, 9000]),
    "a wide context": claim(9000, 20, family="maf", n_context=40_000, hidden_layer_sizes=[1]),
    "a context and a graph": claim(9000, 20, family="graphical", n_features=2900, n_context=1),
    "a mixture of a context": claim(9000, 20, family="gaussian_mixture", n_context=300),
    "many hidden layers": claim(9000, 400, hidden_layer_sizes=[1] * 400, n_transforms=30),
    "a matrix of any kind": claim(8000, 9, family="glow", n_features=3000, log_det="exact"),
    "more components": repeated(5000),
    "more components and weights": with_weights_for(100),
}


@pytest.mark.slow
def test_a_density_that_claims_sizes_is_refused_at_once(quick, table2, tmp_path):
    model = quick(
        flow="realnvp", n_transforms=1, hidden_layer_sizes=(4,), n_estimators=1, max_iter=1
    )
    assert_refused_at_once(written(model.fit(table2), tmp_path, CLAIMS))


@pytest.mark.slow
def test_a_detector_that_claims_sizes_is_refused_at_once(quick, table2, tmp_path):
    detector = FlowOutlierDetector(quick(flow="affine", n_estimators=1)).fit(table2)

    def wider(data, arrays):
        component = components_of(data)[0]
        component["architecture"]["n_features"] = 8000
        pay(component, arrays, 8000)

    def more(data, arrays):
        data["densities"] *= 3000

    assert_refused_at_once(written(detector, tmp_path, {"wider": wider, "more": more}))


@pytest.mark.slow
def test_an_autoencoder_that_claims_sizes_is_refused_at_once(tmp_path):
    X = np.random.default_rng(0).normal(size=(40, 6))
    vae = GradientBoostedFlowVAE(
        n_estimators=1, max_iter=1, hidden_layer_sizes=(4,), flow_hidden_layer_sizes=(4,)
    ).fit(X)

    def networks(sizes):
        def change(data, arrays):
            for role in ("encoder", "decoder"):
                network = data["fitted"][role]
                network["architecture"]["hidden_layer_sizes"] = sizes
                pay(network, arrays, 8000)

        return change

    changes = {
        "wide networks": networks([8000, 8000]),
        "deep networks": networks([1] * 5000),
        "a context": claim(8000, n_context=8000, n_features=1, hidden_layer_sizes=[80, 80]),
        "wide flows": claim(9000, hidden_layer_sizes=[9000, 9000]),
        "more components": repeated(5000),
    }
    assert_refused_at_once(written(vae, tmp_path, changes))


@pytest.mark.slow
def test_a_matched_density_that_claims_sizes_is_refused_at_once(tmp_path):
    small = {"n_estimators": 1, "n_transforms": 1, "batch_size": 8, "max_iter": 1}
    density = fit_to_log_prob(lambda z: -z.square().sum(-1) / 2, 2, **small)
    changes = {
        "wide": claim(9000, n_features=9000),
        "wide networks": claim(9000, hidden_layer_sizes=[12_000, 12_000]),
        "more components": repeated(5000),
    }
    assert_refused_at_once(written(density, tmp_path, changes))


# What a module would hold is what it holds


VARIANTS = {
    "plain": {},
    "one column": {"n_features": 1},
    "two columns": {"n_features": 2, "n_transforms": 1},
    "many columns, few units": {"n_features": 60, "hidden_layer_sizes": (1,), "n_transforms": 1},
    "no hidden layer": {"hidden_layer_sizes": ()},
    "tails": {"tail": "transform", "splines": "whitened", "dropout": 0.1},
    "copula": {"base": CopulaBase("gaussian", "student_t", "learn"), "log_det": "exact"},
    "marginals": {"base": CopulaBase(df=3.0), "log_det": "self_normalizing", "splines": None},
    "student t": {"base": "student_t", "n_components": 1},
}


def assert_known(architecture):
    module = architecture.build()
    held = {name: (tuple(t.shape), t.dtype) for name, t in module.state_dict().items()}
    assert shapes_of(architecture.build) == held
    for fitted in (module, module.double()):
        component = FittedComponent.from_module(architecture, fitted)
        component.check()


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("kind", family_names())
def test_the_arrays_of_a_component_are_known_before_it_is_built(kind, variant):
    sizes = {"n_features": 5, "n_components": 3, "hidden_layer_sizes": (6, 4)}
    assert_known(Architecture(kind, **{**sizes, **VARIANTS[variant]}))


@pytest.mark.parametrize("n_features", [1, 2, 5])
@pytest.mark.parametrize("kind", [f.name for f in families() if f.takes_context])
@pytest.mark.parametrize("sizes", [(4, 3), (1,), ()], ids=str)
def test_the_arrays_of_a_component_with_a_context_are_known(kind, n_features, sizes):
    for n_context in (1, 7):
        fields = {"n_context": n_context, "hidden_layer_sizes": sizes, "n_components": 3}
        assert_known(Architecture(kind, n_features, **fields))


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("role", ["encoder", "decoder"])
def test_the_arrays_of_a_network_are_known(role, kind):
    assert_known(NetworkArchitecture(role, kind, (5, 7), 2, 2, (6, 4), "elu"))


def test_what_a_module_would_hold_takes_no_memory_and_no_draws():
    torch.manual_seed(0)
    shapes = shapes_of(lambda: torch.nn.Linear(10**6, 10**6))
    assert shapes["weight"] == ((10**6, 10**6), torch.float32)
    drawn = torch.rand(())
    torch.manual_seed(0)
    assert torch.equal(torch.rand(()), drawn)


@pytest.mark.parametrize("change", ["shape", "dtype", "half", "missing", "more", "infinite"])
def test_arrays_that_are_not_those_of_the_component_are_refused(change):
    architecture = Architecture("maf", 3, hidden_layer_sizes=(4,))
    arrays = dict(FittedComponent.from_module(architecture, architecture.build()).arrays)
    name = next(name for name, array in arrays.items() if array.dtype == np.float32)
    array = arrays.pop(name)
    changed = {
        "shape": array[None], "dtype": array.astype(np.int64), "half": array.astype(np.float16),
        "missing": None, "more": array, "infinite": np.full_like(array, np.inf),
    }  # fmt: skip
    if changed[change] is not None:
        arrays[name] = changed[change]
    if change == "more":
        arrays["x"] = array
    with pytest.raises(ValueError, match=f"{name if change != 'more' else 'x'}'? "):
        FittedComponent(architecture, arrays).check()
