"""Training in several processes that `torchrun` started, and as a command."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import NoReturn, TypeVar

import torch
import torch.distributed as dist

from xnect.errors import XnectError
from xnect.model import pick_device

T = TypeVar("T")


def agreed(value: T, device: torch.device) -> T:
    """The first process's value, in every process, so that all stop at the same step."""
    if not dist.is_initialized():
        return value
    said = [value]
    dist.broadcast_object_list(said, 0, device=device if device.type == "cuda" else None)
    return said[0]


def join_processes(device: str) -> int:
    """Join the process group if `torchrun` started this process; returns its number in it."""
    if "RANK" not in os.environ:
        return 0
    on_gpu = pick_device(device) == "cuda"
    if on_gpu:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("nccl" if on_gpu else "gloo")
    return dist.get_rank()


def as_command(run: Callable[[int], str], device: str) -> int:
    """`run(rank)` in the process group that there may be; prints its reason, 2 on bad input."""
    status = 0
    try:
        rank = join_processes(device)
        reason = run(rank)
        if rank == 0:
            print(reason)
    except XnectError as error:
        print(f"error: {sentence(error)}", file=sys.stderr)
        status = 2
    except BaseException:
        if dist.is_initialized():
            dist.destroy_process_group()
        raise
    if dist.is_initialized():
        leave_processes(status)
    return status


def sentence(error: Exception) -> str:
    """What an error says; of one from another process, which brings its traceback, the end."""
    text = str(error)
    if "Original Traceback" not in text:
        return text
    last = text.strip().splitlines()[-1]
    kind, _, said = last.partition(": ")
    return said if kind.endswith(type(error).__name__) else last


def leave_processes(status: int) -> NoReturn:
    """Leave the process group, and end this process.

    At once: threads that torch 2.13 keeps for gloo abort an ordinary exit of Python now and then,
    after everything is done and written, and `torchrun` then calls the training failed.
    """
    dist.destroy_process_group()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
