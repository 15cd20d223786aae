"""Seeds, and seeded sections that leave the caller's random state alone."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

RandomState = int | np.random.RandomState | None
"""What the parameter `random_state` may be."""

_GLOBAL_GENERATOR = threading.RLock()


@contextmanager
def seeded(seed: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Seed torch's global generator for the length of a ``with`` block, then put it back.

    Layers and distributions of torch and zuko draw from the global generator only, so fits in
    threads must take turns: keep the block short. What is drawn does not depend on the caller's
    default precision.
    """
    device = torch.device(device)
    devices = [device] if device.type == "cuda" else []
    with _GLOBAL_GENERATOR, torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        dtype = torch.get_default_dtype()
        torch.set_default_dtype(torch.float32)
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)


def derive_seed(seed: int, *keys: int) -> int:
    """Derive an independent seed for one use, the same whenever it is asked for."""
    return int(np.random.SeedSequence([seed, *keys]).generate_state(1, np.uint64)[0]) >> 1
