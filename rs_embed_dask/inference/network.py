"""A network made ready to run: on its device, in the layout that its convolutions like, and compiled where asked."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import torch

from rs_embed_dask.errors import SpecError

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["compiled", "placed"]

_COMPILER_FIX = "install a C++ compiler such as g++ (on a GPU Triton too), or leave compile= out"


def placed(encoder: nn.Module, device: torch.device) -> nn.Module:
    """Bring a network to a device, for use and not for training.

    A part whose class says `channels_last` gets its kernels in that order.
    """
    network = encoder.to(device).eval().requires_grad_(requires_grad=False)
    for part in network.modules():
        if getattr(part, "channels_last", False):
            for kernel in (p for p in part.parameters() if p.dim() == 4):
                kernel.data = kernel.data.contiguous(memory_format=torch.channels_last)
    return network


def compiled(encoder: nn.Module, device: torch.device) -> None:
    """Compile a network in place, by ``torch.compile``; nothing is compiled before the first batch.

    Where nearly all the work is done by parts that are alike, as the blocks of a transformer are, these are compiled,
    once for all of them; what depends on dates and places stays as it is, so that a new date compiles nothing. Other
    networks are compiled whole.

    Raises
    ------
    SpecError
        This machine has no compiler.
    """
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
    """Find the parts of a network that are alike: of the class with the most parameters, unless its members differ."""
    found: dict[type[nn.Module], list[nn.Module]] = defaultdict(list)
    for part in encoder.modules():
        if part is not encoder and not type(part).__module__.startswith("torch."):
            found[type(part)].append(part)
    several = [parts for parts in found.values() if len(parts) > 1]
    most = max(several, key=lambda parts: sum(p.numel() for part in parts for p in part.parameters()), default=[])
    forms = {tuple((name, p.shape) for name, p in part.named_parameters()) for part in most}
    return most if len(forms) == 1 else []
