"""Networks that read images: classifiers, embeddings, or feature maps for the heads.

Start with `create_backbone`; `features.py` says what a backbone is, and `selecsls.py` is the one
that this project is built on.
"""

from .checkpoint import BadCheckpoint, load_checkpoint_into, read_checkpoint
from .factory import UnknownBackbone, create_backbone, list_backbones, pretrained_config
from .features import Backbone, Features, Tap
from .pretrained import PRETRAINED, PretrainedConfig

__all__ = [
    "PRETRAINED",
    "Backbone",
    "BadCheckpoint",
    "Features",
    "PretrainedConfig",
    "Tap",
    "UnknownBackbone",
    "create_backbone",
    "list_backbones",
    "load_checkpoint_into",
    "pretrained_config",
    "read_checkpoint",
]
