"""Devices: their names checked, and computations apart from the caller's defaults."""

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from threadpoolctl import threadpool_limits

from skgbnf._checks import check_choice


def computing_on(device: torch.device | str) -> AbstractContextManager[object]:
    """Let tensors made for the length of a ``with`` block be on a device, in this thread only.

    Code of zuko makes tensors without naming a device, which ``torch.set_default_device`` and
    ``with torch.device(...)`` move elsewhere. Where the caller has done no such thing nothing
    happens, since every call of torch within such a context becomes slower.
    """
    empty = torch.empty(0, device=device)
    moved = torch.as_tensor(empty).device != empty.device
    return empty.device if moved else nullcontext()


@contextmanager
def training_mode(device: torch.device) -> Iterator[None]:
    """Gradients on one thread and device for the length of a ``with`` block.

    So it is whatever the caller has chosen for threads, gradients and default devices.

    The tensors of a training step are small: more threads cost more than they give, many times
    more where the machine is busy.
    """
    limits = threadpool_limits(limits=1, user_api="openmp")
    with limits, torch.inference_mode(False), torch.enable_grad(), computing_on(device):
        yield


def device_name(device: object) -> object:
    """The name of a torch device; anything else as it is."""
    return str(device) if isinstance(device, torch.device) else device


def check_device(device: object) -> None:
    """Raise unless `device` is what :func:`fit_device` knows."""
    name = device_name(device)
    numbered = isinstance(name, str) and re.fullmatch(r"(cpu|cuda):[0-9]+", name)
    check_choice("device", numbered[1] if numbered else name, ("cpu", "cuda", "auto"))


def fit_device(device: str | torch.device) -> torch.device:
    """The torch device to train on; "auto" takes a GPU where there is one.

    Raises
    ------
    ValueError
        If `device` is a GPU that torch does not find.
    """
    name = str(device)
    kind, _, number = name.partition(":")
    if kind == "cuda" and int(number or 0) >= _n_gpus():
        raise ValueError(f"device={name!r} needs a GPU that torch can use, and it finds none.")
    return score_device(device)


def score_device(device: str | torch.device) -> torch.device:
    """The torch device to score on: a model trained on a GPU opens on machines without one."""
    kind, _, number = str(device).partition(":")
    if kind == "cpu" or not _n_gpus():
        return torch.device("cpu")
    return torch.device(device) if number and int(number) < _n_gpus() else torch.device("cuda")


def _n_gpus() -> int:
    return torch.cuda.device_count() if torch.cuda.is_available() else 0
