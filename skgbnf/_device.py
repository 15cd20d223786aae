"""Computations that the caller's default device has no part in."""

from contextlib import AbstractContextManager, nullcontext

import torch


def computing_on(device: torch.device | str) -> AbstractContextManager[object]:
    """Let tensors made for the length of a ``with`` block be on a device, in this thread only.

    Code of zuko makes tensors without naming a device, which ``torch.set_default_device`` and
    ``with torch.device(...)`` move elsewhere. Where the caller has done no such thing nothing
    happens, since every call of torch within such a context becomes slower.
    """
    empty = torch.empty(0, device=device)
    moved = torch.as_tensor(empty).device != empty.device
    return empty.device if moved else nullcontext()
