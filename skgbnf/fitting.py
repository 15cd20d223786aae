"""What every fit does around its work: how torch computes, and the way back if it fails."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from threadpoolctl import threadpool_limits

from skgbnf._device import computing_on


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


@contextmanager
def unchanged_on_failure(estimator: Any) -> Iterator[None]:
    """Put an estimator back as it was if the ``with`` block, a fit, does not come to its end."""
    before = estimator.__dict__.copy()
    try:
        yield
    except BaseException:
        estimator.__dict__ = before
        raise
