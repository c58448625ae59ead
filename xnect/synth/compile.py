"""The compiler of the rendering kernels, or one sentence when it is not installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

from xnect.errors import MissingExtra

try:
    from numba import njit
except ImportError as error:  # the core of xnect works without it
    raise MissingExtra(
        "rendering synthetic people needs numba, which is not installed; "
        "install it with: pip install 'xnect[train]'"
    ) from error

F = TypeVar("F", bound=Callable[..., object])


def kernel(function: F) -> F:
    """The function as machine code: compiled at its first call, later read from the cache.

    The cache knows when this function's own file changes, not when a constant of another file
    does: then remove `__pycache__`.
    """
    return cast(F, njit(fastmath=True, cache=True)(function))
