"""Encoder and decoder, described by a few plain values."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Any, Self

import torch
from torch import Tensor, nn

from skgbnf.flows import ACTIVATIONS

NETWORKS = ("mlp", "conv")
"""Kinds of encoders and decoders."""

_CHANNELS = (16, 32)


@dataclass(frozen=True)
class NetworkArchitecture:
    """What is needed to build an encoder or a decoder anew, apart from its parameters.

    Attributes
    ----------
    role : {"encoder", "decoder"}

    kind : {"mlp", "conv"}

    image_shape : tuple of int
        Shape of a row of X: (n_features,), (height, width) or (height, width, channels).

    n_latent : int
        Dimension of the latent space, the input of a decoder.

    n_parameters : int
        Numbers that a decoder returns for each pixel.

    hidden_layer_sizes : tuple of int
        From the pixels to the latent space; the decoder has them in reverse. The last is the
        number of columns of the encoder's output.

    activation : str
    """

    role: str
    kind: str
    image_shape: tuple[int, ...]
    n_latent: int
    n_parameters: int
    hidden_layer_sizes: tuple[int, ...]
    activation: str

    def to_plain(self) -> dict[str, Any]:
        """The fields as JSON knows them."""
        return dict(vars(self))

    @classmethod
    def from_plain(cls, fields: dict[str, Any]) -> Self:
        """Inverse of :meth:`to_plain`; what was a tuple may be a list."""
        sequences = {name: tuple(fields[name]) for name in ("image_shape", "hidden_layer_sizes")}
        return cls(**{**fields, **sequences})

    def build(self) -> "Encoder | Decoder":
        """Build an untrained network, its parameters drawn by torch."""
        return Encoder(self) if self.role == "encoder" else Decoder(self)

    def check(self, array_sizes: Sequence[int]) -> None:
        """Raise ValueError if what came out of a file is none, or none with arrays so large."""
        sizes = (prod(self.image_shape), *self.hidden_layer_sizes, self.n_latent)
        if self.kind not in NETWORKS or self.activation not in ACTIVATIONS:
            raise ValueError(f"it names an unknown {self.role}: {self}")
        if not all(type(size) is int and size > 0 for size in sizes):
            raise ValueError(f"a size of its {self.role} is no positive integer: {self}")
        n_layers = len(self.hidden_layer_sizes)
        if max(sizes) > max(array_sizes, default=0) or n_layers > len(array_sizes):
            raise ValueError(f"the sizes of its {self.role} do not fit its arrays")


class Encoder(nn.Module):
    """Images of shape (n_samples, n_pixels) to contexts of shape (n_samples, n_context)."""

    def __init__(self, architecture: NetworkArchitecture) -> None:
        super().__init__()
        activation = ACTIVATIONS[architecture.activation]
        layers: list[nn.Module] = []
        n_inputs = prod(architecture.image_shape)
        if architecture.kind == "conv":
            height, width, n_channels = _image(architecture)
            layers.append(_ToImage(height, width, n_channels))
            for n_outputs in _CHANNELS:
                convolution = nn.Conv2d(n_channels, n_outputs, 3, stride=2, padding=1)
                layers += [convolution, activation()]
                n_channels, height, width = n_outputs, (height + 1) // 2, (width + 1) // 2
            layers.append(nn.Flatten())
            n_inputs = n_channels * height * width
        layers += _dense((n_inputs, *architecture.hidden_layer_sizes), activation)
        self.layers = nn.Sequential(*layers)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layers(inputs)


class Decoder(nn.Module):
    """Latent rows of shape (..., n_latent) to (..., n_parameters, n_pixels)."""

    def __init__(self, architecture: NetworkArchitecture) -> None:
        super().__init__()
        activation = ACTIVATIONS[architecture.activation]
        sizes = architecture.hidden_layer_sizes[::-1]
        shape = (architecture.n_parameters, prod(architecture.image_shape))
        if architecture.kind == "conv":
            head: nn.Module = _Deconvolution(architecture, sizes[-1], activation)
        else:
            head = nn.Linear(sizes[-1], prod(shape), bias=False)
        self.layers = nn.Sequential(*_dense((architecture.n_latent, *sizes), activation), head)
        self.offset = nn.Parameter(torch.zeros(shape))

    def forward(self, z: Tensor) -> Tensor:
        rows = z.reshape(-1, z.shape[-1])
        raw = self.layers(rows).reshape(-1, *self.offset.shape) + self.offset
        return raw.reshape(*z.shape[:-1], *self.offset.shape)


class _Deconvolution(nn.Module):
    """Convolutions between steps that double the image, from a quarter of its size."""

    def __init__(
        self, architecture: NetworkArchitecture, n_inputs: int, activation: type[nn.Module]
    ) -> None:
        super().__init__()
        height, width, n_channels = _image(architecture)
        half = ((height + 1) // 2, (width + 1) // 2)
        quarter = ((half[0] + 1) // 2, (half[1] + 1) // 2)
        first, second = _CHANNELS[1], _CHANNELS[0]
        n_outputs = n_channels * architecture.n_parameters
        self.layers = nn.Sequential(
            nn.Linear(n_inputs, first * prod(quarter)),
            activation(),
            nn.Unflatten(1, (first, *quarter)),
            nn.Upsample(half),
            nn.Conv2d(first, second, 3, padding=1),
            activation(),
            nn.Upsample((height, width)),
            nn.Conv2d(second, n_outputs, 3, padding=1),
        )
        self._split = (architecture.n_parameters, n_channels)

    def forward(self, hidden: Tensor) -> Tensor:
        # Channels come last in X.
        return self.layers(hidden).unflatten(1, self._split).movedim(2, -1).flatten(1)


class _ToImage(nn.Module):
    def __init__(self, height: int, width: int, n_channels: int) -> None:
        super().__init__()
        self._shape = (height, width, n_channels)

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.unflatten(1, self._shape).movedim(-1, 1)


def _image(architecture: NetworkArchitecture) -> tuple[int, int, int]:
    height, width, *channels = architecture.image_shape
    return height, width, channels[0] if channels else 1


def _dense(sizes: Sequence[int], activation: type[nn.Module]) -> list[nn.Module]:
    return [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), activation())]
