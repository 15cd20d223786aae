"""What the benchmarks share: a description of the machine, and results as JSON."""

import json
import os
import platform
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import numpy as np
import sklearn
import torch
import zuko

import skgbnf

OPTIONAL = ("POT", "nflows", "nrgboost", "pandas", "pyvinecopulib", "sdv", "torchflows")
"""Packages of methods compared with, any of which may be absent."""

RESULTS = Path(__file__).parent / "results"


def machine() -> dict:
    """What a time was measured on."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "processor": platform.machine(),
        "cpu_count": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scikit-learn": sklearn.__version__,
        "torch": torch.__version__,
        "zuko": zuko.__version__,
        **{name: version(name) for name in OPTIONAL},
        "skgbnf": skgbnf.__version__,
    }


def machine_text(machine: dict) -> str:
    """One sentence of it, for a page, and a note that was put into the results by hand."""
    packages = ("python", "numpy", "scikit-learn", "torch", "zuko", *OPTIONAL, "skgbnf")
    versions = ", ".join(f"{name} {machine[name]}" for name in packages if machine.get(name))
    text = (
        f"Run on {machine['date']} on a machine with {machine['cpu_count']} processors "
        f"({machine['processor']}), one thread for each fit; {versions}."
    )
    return " ".join([text, *filter(None, [machine.get("note")])])


def closing_lines(machine: dict, script: str) -> list[str]:
    """The end of what a benchmark writes into a page: machine, script and results."""
    return [
        machine_text(machine),
        "",
        f"Measured by [{script}.py](../benchmarks/{script}.py), which writes this "
        f"([JSON](../benchmarks/results/{script}.json)).",
        "",
    ]


def mean_text(values: list[float], n_digits: int) -> str:
    """Mean and standard error, which one value does not have."""
    text = f"{np.mean(values):.{n_digits}f}"
    if len(values) == 1:
        return text
    return f"{text} ± {np.std(values, ddof=1) / len(values) ** 0.5:.{n_digits}f}"


def version(package: str) -> str | None:
    """Version of an optional package; None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def write(path: Path, results: dict) -> None:
    """Write results whole or not at all, so that an interrupt leaves the last good file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(results, indent=2) + "\n")
    partial.replace(path)


def table(header: list, rows: list[list]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def bold_best(
    values: dict[str, float], texts: dict[str, str], best: Callable = max
) -> dict[str, str]:
    """Cells of one comparison, with those in bold that read as the best value does.

    What has no value keeps its text.
    """
    if not values:
        return texts
    winner = texts[best(values, key=values.__getitem__)]
    return {name: f"**{text}**" if text == winner else text for name, text in texts.items()}


def insert(page: Path, name: str, text: str) -> None:
    """Replace what stands between the two comments "name:begin" and "name:end" on a page."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before, rest = page.read_text().split(begin)
    _, after = rest.split(end)
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}")
