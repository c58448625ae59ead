"""Export to ONNX, checked: the file must give the numbers of the model."""

from __future__ import annotations

import copy
import logging
import os
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

LARGEST_DIFFERENCE = 1e-3
"""Relative difference above which an exported file is refused."""


def export_onnx(
    model: nn.Module, path: str | Path, hw: tuple[int, int], *, dynamic_batch: bool = True
) -> float:
    """Write a backbone as one ONNX file; the largest relative difference to the model.

    Input `images` (B, C, H, W) float32; outputs `logits` (B, num_classes), `embedding` (B, F), or
    for `Features` `features_0`, `features_1`, ... finest first.  The difference is that of
    onnxruntime to torch on random images, at batch 1 and, with `dynamic_batch`, at 3: the largest
    max |difference| / max |value| of an output.  The file is there whole and checked, or not.

    Args:
        model: A backbone or `Features`; exported in evaluation mode, itself unchanged.
        path: The `.onnx` file; its folder must exist.
        hw: Height and width of the images in pixels, fixed in the file.
        dynamic_batch: Leave the batch size open; otherwise it is 1.

    Raises:
        ImportError: onnx, onnxscript or onnxruntime is not installed.
        ValueError: A size below 1, or a file that gives other numbers than the model.
        OSError: The file cannot be written.
    """
    _require_packages()
    if len(hw) != 2 or min(hw) < 1:
        raise ValueError(f"hw must be a height and a width in pixels, got {hw}")
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"cannot write {path}: the folder {path.parent} does not exist")
    network = copy.deepcopy(model).cpu().float().eval()
    first = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    channels = first.in_channels
    generator = torch.Generator().manual_seed(0)

    def images(batch: int) -> Tensor:
        return torch.randn(batch, channels, *hw, generator=generator)

    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".xnect_onnx_") as folder:
        made = Path(folder) / "model.onnx"
        _export(network, made, images(2 if dynamic_batch else 1), dynamic_batch)
        batches = (1, 3) if dynamic_batch else (1,)
        difference = relative_difference(network, made, [images(batch) for batch in batches])
        if not difference <= LARGEST_DIFFERENCE:  # also refuses NaN
            raise ValueError(
                f"the exported network differs from the model by {difference:.2g} relative, more "
                f"than {LARGEST_DIFFERENCE:g}; {path} was not written"
            )
        os.replace(made, path)
    return difference


def relative_difference(model: nn.Module, path: str | Path, batches: Sequence[Tensor]) -> float:
    """Largest max |ONNX - torch| / max |torch| of batches (B, C, H, W) and outputs, or NaN."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        str(path), options, providers=["CPUExecutionProvider"]
    )  # fmt: skip
    differences = []
    for images in batches:
        theirs = session.run(None, {"images": images.numpy()})
        with torch.no_grad():
            given = model(images)
        ours = [out.numpy() for out in (given if isinstance(given, list) else [given])]
        for a, b in zip(ours, theirs, strict=True):
            scale = max(float(np.abs(a).max()), float(np.finfo(np.float32).tiny))
            differences.append(float(np.abs(a - b).max()) / scale)
    return float(np.max(differences))  # np.max, unlike max, lets no NaN through unseen


def _export(network: nn.Module, path: Path, images: Tensor, dynamic_batch: bool) -> None:
    with torch.no_grad():
        outputs = network(images)
    if isinstance(outputs, list):
        names = [f"features_{i}" for i in range(len(outputs))]
    else:
        names = ["logits" if getattr(network, "num_classes", 0) else "embedding"]
    shapes = ({0: torch.export.Dim("batch")},) if dynamic_batch else None
    chatter = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = chatter.level
    with warnings.catch_warnings():  # the exporter's own deprecations are nothing to our users
        warnings.simplefilter("ignore")
        chatter.setLevel(logging.ERROR)  # nor that torchvision, which we do not use, is missing
        try:
            torch.onnx.export(
                network, (images,), path, input_names=["images"], output_names=names,
                dynamic_shapes=shapes, dynamo=True, external_data=False, verbose=False,
            )  # fmt: skip
        finally:
            chatter.setLevel(level)


def _require_packages() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"exporting to ONNX needs {error.name}: pip install 'xnect[onnx]' "
            "(onnx, onnxscript, onnxruntime)"
        ) from error
