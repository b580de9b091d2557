"""Loads a model: its card, its encoder with weights, its device."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import init
from torch.overrides import TorchFunctionMode

from rs_embed_dask.errors import SpecError
from rs_embed_dask.inference.device import compiled
from rs_embed_dask.inference.model import Model
from rs_embed_dask.models import card as card_of, factory
from rs_embed_dask.models.weights import WeightsInfo, check_licence, load_into, locate, read, verify
from rs_embed_dask.specs import ModelSpec

if TYPE_CHECKING:
    from torch import nn

    from rs_embed_dask.cards.card import Card

__all__ = ["load_model"]

_FIELDS = {field.name for field in fields(ModelSpec)} - {"id", "options", "weights"}


def load_model(
    model: str | ModelSpec,
    *,
    weights: str | Path | Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
    download: bool = True,
    compile: bool = False,  # noqa: A002 - as torch calls it
    **choices: Any,
) -> Model:
    """Load a model.

    Parameters
    ----------
    model : str or ModelSpec
        An id, an alias, ``"id:variant"``, ``"id:variant:modality"``, or a spec.
    weights : str, path or mapping, optional
        "auto" (the default: the Hugging Face cache, else a download), a file, ``"random"`` (for tests and benchmarks;
        stamped into every receipt), or the tensors themselves by name.
    config : mapping, optional
        Arguments of the encoder's constructor instead of the variant's, for networks of another size.
    download : bool, default True
        Whether weights that are not on this machine may be downloaded.
    compile : bool, default False
        Compile the network with ``torch.compile``: the first batches take up to a minute, later ones less time. Needs
        a C++ compiler, and Triton on a GPU. Numbers stay the same to rounding.
    **choices
        Fields of `ModelSpec` (`variant`, `modality`, `device`, `dtype`, `accept_licence`, `prep`) and the card's
        options.

    Returns
    -------
    Model

    Raises
    ------
    UnknownNameError
        No such model, variant, modality or option.
    LicenceError
        The weights' terms must be accepted first.
    WeightsError
        The weights are missing, damaged, unsafe or another model's.
    SpecError
        An option is invalid; or `compile` without a compiler.

    Examples
    --------
    >>> load_model("bandstats").card.id
    'bandstats'
    """
    spec = ModelSpec.of(model)
    options = {name: value for name, value in choices.items() if name not in _FIELDS}
    named = {name: value for name, value in choices.items() if name in _FIELDS}
    spec = replace(spec, **named, options=tuple({**dict(spec.options), **options}.items()))
    if isinstance(weights, str | Path):
        spec = replace(spec, weights=str(weights))
    card = card_of(spec.id)
    if card.is_published:
        raise SpecError("model", value=card.id, reason="its vectors are read, not computed", fix="use get_embedding")
    build = partial(factory(card.id), **_arguments(card, spec, config or {}))
    tensors = weights if isinstance(weights, Mapping) else None
    loaded = Model(card, spec, *_with_weights(build, card, spec, tensors=tensors, download=download))
    _resize(loaded, config or {})
    if compile:
        compiled(loaded.encoder, loaded.device)
    return loaded


def _arguments(card: Card, spec: ModelSpec, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the encoder's constructor arguments: the variant's, then the options, then the caller's."""
    chosen = card.chosen(spec.options)
    options = {option.name: chosen[option.name] for option in card.options if option.config}
    inputs = card.resolved_inputs(spec)
    bands = {"bands": inputs[0].bands} if card.any_bands else {}
    built_for = {"modalities": tuple(i.modality for i in inputs)} if card.per_modality else {}
    return {**dict(card.variant_for(spec).config), **options, **bands, **built_for, **config}


def _with_weights(
    build: Callable[[], nn.Module], card: Card, spec: ModelSpec, *, tensors: Mapping[str, Any] | None, download: bool
) -> tuple[nn.Module, WeightsInfo]:
    """Build the encoder and load its weights: the caller's tensors, random ones, a file, or the card's own."""
    variant = card.variant_for(spec)
    weights, what = variant.weights, f"{card.id} {variant.name}"
    if weights is None:
        if spec.weights != "auto" or tensors is not None:
            fix = "leave weights= out"
            raise SpecError(f"{what}: weights", value=spec.weights, reason="this model has none", fix=fix)
        return build(), WeightsInfo()
    encoder = build() if weights.optional else _empty(build)
    if tensors is not None:
        load_into(encoder, tensors, weights, what=what)
        return encoder, WeightsInfo("given", licence=weights.licence)
    if spec.weights == "random":
        encoder.load_state_dict(_random(encoder), assign=True)
        return encoder, WeightsInfo("random", random=True)
    check_licence(card, weights, accept_licence=spec.accept_licence)
    path = locate(card, variant, download=download) if spec.weights == "auto" else Path(spec.weights)
    digest = verify(card, weights, path, strict=spec.weights == "auto")
    load_into(encoder, read(path, weights.safe_classes), weights, what=what, copy=True)
    return encoder, WeightsInfo(path.name, digest, weights.licence, official=digest == weights.sha256)


class _Unfilled(TorchFunctionMode):
    """Leaves new parameters as they are: drawing their first values takes time, even on the meta device."""

    # There, torch.nn.init also imports PyTorch's compiler, for longer than it takes to read the weights.

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Return the tensor that `torch.nn.init` would fill; run every other function."""
        named = kwargs or {}
        if getattr(func, "__module__", "") == init.__name__:
            return args[0] if args else named["tensor"]
        return func(*args, **named)


def _empty(build: Callable[[], nn.Module]) -> nn.Module:
    """Build on the meta device, since the values are replaced anyway; on the CPU if a buffer is computed."""
    with _Unfilled():
        with torch.device("meta"):
            module = build()
        stored = module.state_dict()
        return module if all(name in stored for name, _ in module.named_buffers()) else build()


def _random(encoder: nn.Module) -> dict[str, torch.Tensor]:
    """Draw every tensor from a generator keyed by its name: the same on any machine, activations of order one."""
    drawn = {}
    for name, like in encoder.state_dict().items():
        generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
        noise = torch.randn(like.shape, generator=generator)
        leaf = name.rsplit(".", 1)[-1]
        if not like.is_floating_point():
            drawn[name] = torch.zeros(like.shape, dtype=like.dtype)
        elif like.dim() > 1:
            drawn[name] = noise.div_(math.sqrt(min(math.prod(like.shape[1:]), 2500)))
        else:
            drawn[name] = 0.1 * noise.abs() + 1 if leaf in {"weight", "gamma", "running_var"} else 0.1 * noise
    return drawn


def _resize(model: Model, config: Mapping[str, Any]) -> None:
    """Apply an image or patch size from the configuration to the preparation of pixels."""
    if "size" in config and "size_px" not in dict(model.spec.options):
        size: int = config["size"]
        model.inputs = tuple(
            replace(i, size_px=size, short_px=i.short_px and i.short_px * size // i.size_px) if i.size_px else i
            for i in model.inputs
        )
    model.patch = config.get("patch", model.patch)
