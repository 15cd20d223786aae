"""Cells of a benchmark: each run in a process of its own, and not again once it is finished."""

import json
import multiprocessing
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import report
import torch
from threadpoolctl import threadpool_limits

MAY_CHANGE = {"date", *report.OPTIONAL}
"""Of the machine, what a run may add to: the last day counts, and a package that was absent."""


def run_guarded(function: Callable, arguments: tuple, timeout: float) -> dict:
    """Result of a function in a fresh process on one thread, or what went wrong as "error".

    Parameters
    ----------
    function : callable
        Returns a dict; found by name in the new process, so it must stand in a module.

    arguments : tuple

    timeout : float
        Seconds after which the process is ended.
    """
    os.environ["OMP_NUM_THREADS"] = "1"  # the new process reads it before any library does
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(sender, function, arguments), daemon=True)
    process.start()
    sender.close()
    try:
        if receiver.poll(timeout):
            return receiver.recv()
        return {"error": f"not finished after {timeout:.0f} s"}
    except EOFError:
        return {"error": "the process died"}
    finally:
        process.kill()
        process.join()


def _run(sender, function: Callable, arguments: tuple) -> None:
    torch.set_num_threads(1)
    warm_up()
    try:
        with threadpool_limits(1):
            result = function(*arguments)
    except Exception as error:
        traceback.print_exc()
        result = {"error": f"{type(error).__name__}: {error}"}
    sender.send(result)


def warm_up() -> None:
    """Do what torch does once in a process, which takes seconds, before a clock runs."""
    parameter = torch.zeros(1, requires_grad=True)
    optimiser = torch.optim.Adam([parameter])
    parameter.sum().backward()
    optimiser.step()


def load_results(path: Path, fresh: dict) -> dict:
    """Results of an earlier run with the same setting and parameters, or a fresh record."""
    if not path.exists():
        return fresh
    results = json.loads(path.read_text())
    for name in ("setting", "parameters"):
        if results[name] != json.loads(json.dumps(fresh[name])):
            sys.exit(f"{path} holds results with other {name}: remove it or use another --out.")
    then, now = results["machine"], fresh["machine"]
    for name in now.keys() - MAY_CHANGE:
        if then.get(name) != now[name]:
            sys.exit(f"{path} was made with another {name}: remove it or use another --out.")
    then.update({name: now[name] for name in MAY_CHANGE if now[name]})
    return results


def unfinished(grid: dict, keys: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Those keys, each a path through nested dicts, that have no entry yet."""
    return [key for key in keys if lookup(grid, key) is None]


def forget(grid: dict, keys: list[tuple[str, ...]]) -> None:
    """Remove the entries of those keys, so that their cells run again."""
    for *outer, last in keys:
        (lookup(grid, tuple(outer)) or {}).pop(last, None)


def lookup(grid: dict, key: tuple[str, ...]) -> dict | None:
    for name in key:
        grid = grid.get(name, {})
    return grid or None


def store(path: Path, results: dict, key: tuple[str, ...], record: dict) -> None:
    """Enter a cell's record under "cells" and write the file."""
    *outer, last = key
    grid = results["cells"]
    for name in outer:
        grid = grid.setdefault(name, {})
    grid[last] = record
    report.write(path, results)
