"""The contract of a backbone, and a backbone that gives feature maps in place of classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn


class Tap(NamedTuple):
    """A place where features can be read."""

    channels: int
    reduction: int  # pixels of the input per cell
    module: str  # timm's name of the module whose output it is


class Backbone(nn.Module):
    """What every network of this folder is: a classifier of images with `taps`.

    A family sets the attributes below and defines `forward_features`, `forward_head`,
    `forward_taps` and `keep_taps`.  Names in its state dict are those of timm.
    """

    num_features: int
    """Channels of `forward_features`."""
    num_classes: int
    """0: there is no classifier, and `forward` gives pooled embeddings."""
    taps: tuple[Tap, ...]
    """All that exist, finest first."""
    default_indices: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Of the taps that `features_only` gives when none are named."""

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, num_features, h, w), before pooling."""
        raise NotImplementedError

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """(B, num_features, h, w) -> (B, num_classes) logits, or (B, F) embeddings."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, num_classes) logits; (B, num_features) without classifier."""
        return self.forward_head(self.forward_features(x))

    def forward_taps(self, x: Tensor, indices: Sequence[int]) -> list[Tensor]:
        """Maps of the taps `indices` (ascending), run no further than the deepest of them."""
        raise NotImplementedError

    def keep_taps(self, indices: Sequence[int]) -> None:
        """Delete every parameter that none of the taps `indices` needs."""
        raise NotImplementedError


def checked_indices(indices: Sequence[int], taps: Sequence[Tap]) -> tuple[int, ...]:
    """Ascending numbers of taps; negative ones count from the end.

    Raises:
        ValueError: None at all, one that does not exist, or the same twice.
    """
    count = len(taps)
    found = sorted(i + count if i < 0 else i for i in indices)
    if not found or found[0] < 0 or found[-1] >= count or len(set(found)) < len(found):
        raise ValueError(
            f"out_indices must be different numbers from {-count} to {count - 1}, "
            f"got {tuple(indices)}"
        )
    return tuple(found)


class Features(nn.Module):
    """A backbone cut back to some of its taps: images -> feature maps, finest first.

    The backbone's children become children of this module, so that names in the state dict are the
    backbone's own, without a prefix.
    """

    def __init__(self, model: Backbone, indices: Sequence[int] | None = None) -> None:
        """Takes over `model` and deletes what the wanted taps do not need.

        Raises:
            ValueError: Indices that are not of different taps of `model`.
        """
        super().__init__()
        wanted = model.default_indices if indices is None else indices
        self.indices = checked_indices(wanted, model.taps)
        self.taps = tuple(model.taps[i] for i in self.indices)
        self.channels = tuple(tap.channels for tap in self.taps)
        self.strides = tuple(tap.reduction for tap in self.taps)
        before = set(model.state_dict())
        model.keep_taps(self.indices)
        self.dropped_keys = frozenset(before - set(model.state_dict()))
        # One set of dicts for both: who replaces a child here replaces it in the model as well.
        self._modules, self._parameters = model._modules, model._parameters
        self._buffers = model._buffers
        self._non_persistent_buffers_set = model._non_persistent_buffers_set
        self.__dict__["_model"] = model  # not registered: its children are this module's

    @property
    def model(self) -> Backbone:
        """The backbone as it was cut back."""
        model: Backbone = self.__dict__["_model"]
        return model

    def train(self, mode: bool = True) -> Features:
        """As of every module."""
        self.model.training = mode
        super().train(mode)
        return self

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, C, H, W) -> [(B, C_i, H / stride_i, W / stride_i)], finest first."""
        return self.model.forward_taps(x, self.indices)
