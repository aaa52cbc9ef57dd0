"""regcodec: a learned image codec with real bitstreams. See docs/architecture.md for the rooms, docs/python.md for use.

Importing this registers the format with Pillow and loads nothing else: `encode` and `decode` fetch what they need.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from regcodec import plugin
from regcodec.errors import RegcodecError

if TYPE_CHECKING:
    from regcodec.api import decode, encode

__all__ = ["RegcodecError", "__version__", "decode", "encode"]
__version__ = "0.1.0.dev0"

plugin.register()


def __getattr__(name: str) -> Any:
    if name in ("decode", "encode"):
        return getattr(import_module("regcodec.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
