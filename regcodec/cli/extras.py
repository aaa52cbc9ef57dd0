"""What to say when a command needs an extra that is not installed."""

from __future__ import annotations

from importlib.util import find_spec

from regcodec.errors import RegcodecError


def require_training(command: str) -> None:
    """Raise `RegcodecError` with the command that installs the `train` extra, unless it is there."""
    missing = [name for name in ("torch", "compressai", "onnx") if find_spec(name) is None]
    if missing:
        raise RegcodecError(
            f"regcodec {command} needs {', '.join(missing)}. Install the extra (Python 3.11 or 3.12): "
            'pip install "regcodec[train]"'
        )
