"""What is there after ``import skgbnf``, and what waits until it is asked for."""

import subprocess
import sys

import pytest

import skgbnf

MODULES = ("diagnostics", "flows", "metrics", "plotting")


@pytest.mark.quick
@pytest.mark.parametrize("name", MODULES)
def test_public_modules_are_attributes(name):
    assert getattr(skgbnf, name).__name__ == f"skgbnf.{name}"
    assert name in dir(skgbnf)
    assert name in skgbnf.__all__


def test_all_that_is_public_is_there_and_nothing_else():
    assert all(hasattr(skgbnf, name) for name in skgbnf.__all__)
    with pytest.raises(AttributeError, match="module 'skgbnf' has no attribute 'plots'"):
        skgbnf.plots  # noqa: B018


@pytest.mark.slow  # a new process imports torch
def test_the_import_does_not_wait_for_them():
    code = """
import sys
import skgbnf
waiting = {"skgbnf.diagnostics", "skgbnf.metrics", "skgbnf.plotting"}
assert not waiting & sys.modules.keys()
skgbnf.diagnostics.importance_report, skgbnf.metrics.crps, skgbnf.plotting.DensityDisplay
assert waiting <= sys.modules.keys()
assert "matplotlib" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
