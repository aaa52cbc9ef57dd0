"""The float transforms, run by onnxruntime on the CPU.

    analysis        x [1, 3, H, W] -> y [M, H/16, W/16]
    hyper analysis  y -> z [N, H/64, W/64], of a tile's core alone: where the entropy model sees the border of a picture
    synthesis       y_hat [M, H/16, W/16] -> x_hat [1, 3, H, W]
    rate_bias       [1, channels, 1, 1], a second input of analysis and synthesis in networks that are told the rate

Each session is made at its first use: a decoder never loads the analysis transform.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from regcodec.codec.graphs import refuse_unsafe
from regcodec.codec.pixels import Planes
from regcodec.errors import DamagedFileError, DamagedPackError, NoGradientError, RegcodecError, naming

_NO_MEMORY = ("bad allocation", "bad_alloc", "Failed to allocate")
"""What onnxruntime's errors say when there is none."""
Latent = npt.NDArray[np.float32]
WHOLE = (slice(None), slice(None))


class Transforms:
    """Analysis and synthesis of one pack.

    `threads` None leaves the number to onnxruntime; an element of y is `step` pixels wide; `channels` are of z and y.
    """

    def __init__(self, members: dict[str, bytes], threads: int | None, step: int, channels: tuple[int, int]) -> None:
        self._members = members
        self.threads = threads
        self._step = step
        self._channels = channels

    def analysis(
        self, x: Planes, core: tuple[slice, slice] = WHOLE, rate_bias: npt.NDArray[np.float32] | None = None
    ) -> tuple[Latent, Latent]:
        """Return y and z of the picture, or of a core: rows and columns of y, whole elements of z."""
        of_z, of_y = self._channels
        shape = (1, of_y, x.shape[2] // self._step, x.shape[3] // self._step)
        y = np.ascontiguousarray(self._run(self._analysis, (x, rate_bias), shape)[0][:, :, *core])
        (z,) = self._run(self._hyper_analysis, (y,), (1, of_z, y.shape[2] // 4, y.shape[3] // 4))
        if not (np.isfinite(y).all() and np.isfinite(z).all()):
            raise RegcodecError("the analysis transform gave values that are not finite; the pack is unusable.")
        return y[0], z[0]

    def synthesis(self, y_hat: Latent, rate_bias: npt.NDArray[np.float32] | None = None) -> Planes:
        """Return the picture of a latent."""
        shape = (1, 3, y_hat.shape[1] * self._step, y_hat.shape[2] * self._step)
        (x_hat,) = self._run(self._synthesis, (y_hat[None], rate_bias), shape)
        if not np.isfinite(x_hat).all():
            raise DamagedFileError("the symbols are so large that the picture is not finite.")
        return x_hat

    def synthesis_gradient(
        self,
        y_hat: Latent,
        rate_bias: npt.NDArray[np.float32] | None,
        target: Planes,
        visible: npt.NDArray[np.float32],
        signs: npt.NDArray[np.float32],
    ) -> tuple[Planes, Latent]:
        """Return the picture of a latent and a gradient there, of what `adjoint` says.

        Raises `NoGradientError` where there is none of the pack's synthesis, or no memory for it: its picture alone
        takes a fraction of that.
        """
        shapes = target.shape, (1, *y_hat.shape)
        try:
            x_hat, gradient = self._run(self._gradient, (y_hat[None], rate_bias, target, visible, signs), *shapes)
        except RegcodecError as error:
            raise NoGradientError(str(error)) from error
        return x_hat, gradient[0]

    def release_gradient(self) -> None:
        """Give back the memory of `synthesis_gradient`, which keeps what it has of a tile."""
        self.__dict__.pop("_gradient", None)

    def release(self) -> None:
        """Give back the sessions and the memory that they keep from one run for the next."""
        for name in ("_analysis", "_hyper_analysis", "_synthesis"):
            self.__dict__.pop(name, None)
        self.release_gradient()

    def _run(
        self, session: Any, inputs: tuple[npt.NDArray[np.float32] | None, ...], *shapes: tuple[int, ...]
    ) -> list[npt.NDArray[np.float32]]:
        """Return the outputs of a graph for the inputs that are given; they must have `shapes`."""
        given = [a for a in inputs if a is not None]
        try:
            names = [known.name for known in session.get_inputs()]
            results = session.run(None, dict(zip(names, given, strict=True)))
        except Exception as error:  # onnxruntime's errors have no common base but Exception
            raise _meant(error, f"a transform of the pack does not fit its tables ({error}).") from error
        found = tuple(np.shape(result) for result in results)
        if found != shapes:
            raise DamagedPackError(f"a transform of the pack gives {found} where its tables need {shapes}.")
        return [np.asarray(result, np.float32) for result in results]

    @cached_property
    def _analysis(self) -> Any:
        return self._session("analysis.onnx")

    @cached_property
    def _hyper_analysis(self) -> Any:
        return self._session("hyper_analysis.onnx")

    @cached_property
    def _synthesis(self) -> Any:
        return self._session("synthesis.onnx")

    @cached_property
    def _gradient(self) -> Any:
        from regcodec.codec.adjoint import with_gradient

        return self._session("synthesis.onnx", with_gradient)

    def _session(self, name: str, changed: Callable[[bytes], bytes] = bytes) -> Any:
        """Return a graph of the pack, `changed` after it was found to be safe."""
        onnxruntime = runtime()
        with naming(f"the pack's {name} is refused"):
            refuse_unsafe(self._members[name])
        model = changed(self._members[name])
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.enable_mem_pattern = False  # a pattern doubles the memory from the second tile on, and saves no time
        # threads that wait by spinning would take the cores from the integer network that runs next
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.load_model_format", "ONNX")  # what `refuse_unsafe` has read
        if self.threads is not None:
            options.intra_op_num_threads = self.threads
        try:
            return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors have no common base but Exception
            raise _meant(error, f"the pack's {name} cannot be loaded ({error}).") from error


def runtime() -> Any:
    """Return the module onnxruntime, which reports nothing to its makers."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # from 1.29 on it would report every session
    import onnxruntime

    onnxruntime.disable_telemetry_events()  # what older ones on Windows report
    return onnxruntime


def _meant(error: Exception, damage: str) -> RegcodecError:
    """Return what an error of onnxruntime means: too little memory, or a pack with this damage."""
    if isinstance(error, MemoryError) or any(words in str(error) for words in _NO_MEMORY):
        return RegcodecError("not enough memory.")
    return DamagedPackError(damage)
