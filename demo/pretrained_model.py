"""A backbone for the command line: its flags, its weights, and how it wants its pictures."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, cast

from xnect.demo.options import DEVICES, positive_int
from xnect.errors import BadInput, BadWeights, MissingExtra, XnectError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from xnect.backbones import Backbone, PretrainedConfig

USUAL = "selecsls42b.in1k"
"""Its picture size, crop and colours are taken for models without published weights."""


@dataclass(frozen=True)
class Opened:
    """A network that is ready, and what its pictures must be like."""

    name: str
    weights: str  # where they come from
    model: Backbone
    config: PretrainedConfig
    device: torch.device

    def run(self, batch: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, num_classes) logits, or (B, F) embeddings; both on the CPU."""
        import torch

        with torch.inference_mode():
            output: Tensor = self.model(batch.to(self.device))
        return output.float().cpu()


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Which network, where its weights are, and how pictures are prepared."""
    group = parser.add_argument_group("network")
    group.add_argument(
        "--model", metavar="NAME", required=True,
        help="backbone, such as selecsls60b or selecsls60b.in1k; `xnect list` shows them",
    )  # fmt: skip
    group.add_argument(
        "--weights", metavar="F", default=None,
        help=".safetensors or .pth file, hub id or URL (default: those of --model on the hub)",
    )  # fmt: skip
    group.add_argument(
        "--device", choices=DEVICES, default="auto", help="where to compute (default: auto)"
    )
    group.add_argument("--batch", metavar="N", type=positive_int, default=16, help="default: 16")
    group.add_argument(
        "--size", metavar="PX", type=positive_int,
        help="side of the network's input (default: what the model was trained for)",
    )  # fmt: skip


@contextmanager
def errors_for_users() -> Iterator[None]:
    """Errors of the backbones, which know nothing of xnect's, become xnect's; the text stays."""
    from xnect.backbones import BadCheckpoint, UnknownBackbone
    from xnect.backbones.hub import DownloadError

    try:
        yield
    except XnectError:
        raise
    except UnknownBackbone as error:
        raise BadInput(str(error)) from error
    except (BadCheckpoint, DownloadError) as error:
        raise BadWeights(str(error)) from error
    except ValueError as error:
        raise BadInput(str(error)) from error


def open_backbone(args: argparse.Namespace, *, num_classes: int = 1000) -> Opened:
    """The network that the flags ask for, with weights, ready to run.

    Raises:
        BadWeights: Weights that cannot be had, are damaged, or are for another network.
        BadInput: A backbone that does not exist, or a device that is not there.
        MissingExtra: Pillow is not installed.
    """
    import torch

    from xnect.backbones import PRETRAINED, create_backbone, pretrained_config
    from xnect.model import pick_device

    if find_spec("PIL") is None:
        raise MissingExtra(
            "pictures are read by Pillow, which is not installed: pip install pillow"
        )
    device = torch.device(pick_device(args.device))
    with errors_for_users():
        config = pretrained_config(args.model) or replace(
            PRETRAINED[USUAL], architecture=args.model, tag="untrained", top1=None, top5=None
        )
        if args.size is not None:
            config = replace(config, input_hw=(args.size, args.size))
        network = create_backbone(
            args.model, pretrained=args.weights or True, num_classes=num_classes
        )
    model = cast("Backbone", network)
    weights = args.weights or config.hub_id
    return Opened(args.model, str(weights), model.eval().to(device), config, device)


def read_class_names(path: Path | None, num_classes: int = 1000) -> tuple[str, ...]:
    """One name per line of the file; without a file those of ImageNet.

    Raises:
        BadInput: A file that cannot be read, or that is empty.
    """
    if path is None:
        from xnect.backbones.labels import class_names

        return class_names(num_classes)
    try:
        names = tuple(path.read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"cannot read the class names {path}: {error}") from error
    if not names:
        raise BadInput(f"{path} is empty; it must hold the name of one class per line")
    return names
