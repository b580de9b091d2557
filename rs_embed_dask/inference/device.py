"""Where a network runs, and how numbers travel there and back."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import torch

from rs_embed_dask.errors import SpecError
from rs_embed_dask.show.tables import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

__all__ = ["Transfer", "choose_device", "compiled", "placed"]

_COMPILER_FIX = "install a C++ compiler such as g++ (on a GPU Triton too), or leave compile= out"


def choose_device(name: str) -> torch.device:
    """Return the device of that name; ``"auto"`` selects the first available accelerator. Raises SpecError."""
    if name != "auto":
        device = torch.device(name)
        count = _devices(device.type)
        if (device.index or 0) >= count:
            kind = f"{device.type} device"
            reason = f"this machine has {counted(count, kind) if count else f'no {kind}'}"
            fix = "use device='auto' or 'cpu', or workers that have one"
            raise SpecError("ModelSpec.device", value=name, reason=reason, fix=fix)
        return device
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _devices(kind: str) -> int:
    """Count the devices of a kind on this machine."""
    if kind == "cpu":
        return 1
    if kind == "mps":
        return int(torch.backends.mps.is_available())
    return int(getattr(torch, kind).device_count())


def placed(encoder: nn.Module, device: torch.device) -> nn.Module:
    """Move a network to a device, in evaluation mode and without gradients."""
    # The kernels of a part whose class sets `channels_last` are stored in that order.
    network = encoder.to(device).eval().requires_grad_(requires_grad=False)
    for part in network.modules():
        if getattr(part, "channels_last", False):
            for kernel in (p for p in part.parameters() if p.dim() == 4):
                kernel.data = kernel.data.contiguous(memory_format=torch.channels_last)
    return network


def compiled(encoder: nn.Module, device: torch.device) -> None:
    """Compile a network in place, by ``torch.compile``; nothing is compiled before the first batch."""
    # Where nearly all the work is done by identical parts, such as the blocks of a transformer, these are compiled,
    # once for all of them; what depends on dates and places is not, so that a new date does not recompile. Other
    # networks are compiled whole.
    try:
        torch.compile(_trial, options={"fx_graph_cache": False})(torch.ones(8, device=device))
    except RuntimeError as fault:
        reason = f"nothing can be compiled here ({str(fault).strip().splitlines()[0][:120]})"
        raise SpecError("compile", value=True, reason=reason, fix=_COMPILER_FIX) from fault
    for part in _repeated(encoder) or [encoder]:
        part.compile()


def _trial(x: Tensor) -> Tensor:
    return x.sin() + x.cos()


def _repeated(encoder: nn.Module) -> list[nn.Module]:
    """Return the identical parts of a network: those of the class with most parameters, unless they differ."""
    by_class: dict[type[nn.Module], list[nn.Module]] = defaultdict(list)
    for part in encoder.modules():
        if part is not encoder and not type(part).__module__.startswith("torch."):
            by_class[type(part)].append(part)
    several = [parts for parts in by_class.values() if len(parts) > 1]
    most = max(several, key=lambda parts: sum(p.numel() for part in parts for p in part.parameters()), default=[])
    forms = {tuple((name, p.shape) for name, p in part.named_parameters()) for part in most}
    return most if len(forms) == 1 else []


class Transfer:
    """Copies between the memory of this machine and that of a device.

    To a GPU they go from pinned memory on a stream of their own, and none of them waits for what the GPU has still to
    compute: the next batch is prepared and copied meanwhile.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def to_device(self, tensor: Tensor) -> Tensor:
        """Copy to the device; what is computed from the copy there waits for it, and this process does not."""
        if self._stream is None:
            return tensor.to(self._device)
        pinned = tensor.pin_memory()
        with torch.cuda.stream(self._stream):
            copied = pinned.to(self._device, non_blocking=True)
        computing = torch.cuda.current_stream(self._device)
        computing.wait_stream(self._stream)
        copied.record_stream(computing)  # else its memory could be given to the next copy before it has been used
        return copied

    def to_host(self, tensor: Tensor) -> Callable[[], NDArray[np.float32]]:
        """Begin to copy from the device; the function that is returned waits for the numbers, float32."""
        if self._stream is None:
            here = tensor.float().cpu().numpy()
            return lambda: here
        pinned = tensor.float().to("cpu", non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record(torch.cuda.current_stream(self._device))

        def wait() -> NDArray[np.float32]:
            arrived.synchronize()
            return pinned.numpy().copy()  # pinned memory is scarce, and results are kept

        return wait
