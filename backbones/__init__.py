"""Image features.

The contract of a backbone: an `nn.Module` with `forward(x)`, (B, 3, H, W) -> list of feature maps,
finest first, and with `channels` and `strides`, one entry for each map.
"""

from .selecsls import SelecSLS, selecsls42, selecsls60

__all__ = ["SelecSLS", "selecsls42", "selecsls60"]
