"""Which model: its id, and the choices that its card leaves open."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from os import PathLike, fspath
from typing import Any, Final, TypeAlias, TypeVar

from rs_embed_dask.errors import SpecError
from rs_embed_dask.specs.base import Record, choice, flag, number, text
from rs_embed_dask.specs.fetch import FetchSpec, SensorSpec
from rs_embed_dask.specs.output import InputPrep

__all__ = ["DTYPES", "ModelLike", "ModelSpec", "ModelsLike"]

DTYPES: Final = ("auto", "float32", "bfloat16", "float16")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")
_DEVICE: Final = re.compile(r"auto|cpu|cuda(:\d+)?|mps|xpu(:\d+)?")
_ID_FIX: Final = "write a model id such as 'galileo', 'galileo:nano' or 'galileo:nano:s1'"
_MOST_PARTS: Final = 3
_NAME_FIX: Final = "use letters, digits, '-', '_', '.' and '+'"
_LICENCE_FIX: Final = "pass True once you have read the licence"
_RESERVED: Final = ("items",)
_Own = TypeVar("_Own", FetchSpec, SensorSpec, InputPrep)
_BY_NAME: Final[dict[type, str]] = {SensorSpec: "collection", InputPrep: "mode"}


@dataclass(frozen=True, repr=False)
class ModelSpec(Record):
    """One model of a request.

    Parameters
    ----------
    id : str
        The model's id or an alias, for example ``"galileo"``.
    variant : str, optional
        For example ``"nano"``. Default: the card's.
    weights : str or path, default "auto"
        "auto" (from the hub), "random" (for tests, and recorded as such), or a file.
    modality : str or sequence of str, optional
        Which inputs to use, for example ``"s1"``, or ``"s1+s2"`` for both. Default: the card's.
    options : mapping, optional
        Choices of the card, for example ``{"patch_px": 8}``; kept as sorted (name, value) pairs.
    dtype : {"auto", "float32", "bfloat16", "float16"}, default "auto"
        "auto" is float32 on a CPU and bfloat16 on a GPU.
    device : str, default "auto"
        "auto", "cpu", "cuda", "cuda:1", "mps" or "xpu".
    accept_licence : bool, default False
        Whether the user has read and accepts a licence that is not free.
    name : str, optional
        Name in the store. Default: built from id, variant and modality.
    fetch : FetchSpec, optional
        How this model's pixels are read: what it states goes before the request's.
    sensor : SensorSpec or sequence of SensorSpec, optional
        Sensors and bands that this model reads instead of the card's or the request's.
    prep : InputPrep or {"resize", "tile", "auto"}, optional
        How this model's images are fitted. Default: the request's.

    Raises
    ------
    SpecError, UnknownNameError
        If a value is not valid.

    Examples
    --------
    >>> ModelSpec.of("galileo:nano:s1").label
    'galileo-nano-s1'
    >>> ModelSpec("rcf", fetch=FetchSpec(resolution_m=20), prep="resize").prep
    InputPrep()
    """

    id: str
    variant: str | None = None
    weights: str = "auto"
    modality: str | None = None
    options: tuple[tuple[str, Any], ...] = ()
    dtype: str = "auto"
    device: str = "auto"
    accept_licence: bool = False
    name: str | None = None
    fetch: FetchSpec | None = None
    sensor: tuple[SensorSpec, ...] | None = None
    prep: InputPrep | None = None

    def __post_init__(self) -> None:
        checked = {
            "id": _name("ModelSpec.id", self.id, _ID_FIX),
            "variant": _optional_name("ModelSpec.variant", self.variant),
            "modality": _optional_name("ModelSpec.modality", _joined(self.modality)),
            "name": _label(self.name),
            "weights": _weights(self.weights),
            "options": _frozen_options(self.options),
            "dtype": choice("ModelSpec.dtype", self.dtype, DTYPES),
            "device": _device(self.device),
            "accept_licence": flag("ModelSpec.accept_licence", self.accept_licence, fix=_LICENCE_FIX),
            "fetch": _own("fetch", FetchSpec, self.fetch),
            "sensor": _sensors(self.sensor),
            "prep": _own("prep", InputPrep, self.prep),
        }
        for field, value in checked.items():
            object.__setattr__(self, field, value)
        if self.label in _RESERVED:
            reason = "the store uses this name for its own table"
            raise SpecError("ModelSpec.name", value=self.label, reason=reason, fix="choose another name")

    @classmethod
    def of(cls, value: ModelLike) -> ModelSpec:
        """Return the spec of a model, in whatever form it is written.

        Parameters
        ----------
        value : str or ModelSpec or mapping
            ``"id"``, ``"id:variant"`` or ``"id:variant:modality"`` (a part may be empty), a spec, or a dictionary.

        Returns
        -------
        ModelSpec

        Raises
        ------
        SpecError
            If it is none of these, or as for the class.
        """
        if isinstance(value, ModelSpec):
            return value
        if isinstance(value, Mapping):
            return cls.from_dict(value)
        if not isinstance(value, str):
            raise SpecError("model", value=value, reason=f"{type(value).__name__} does not name a model", fix=_ID_FIX)
        parts = [part.strip() for part in value.split(":")]
        if len(parts) > _MOST_PARTS or not parts[0]:
            raise SpecError("model", value=value, reason="this is not id:variant:modality", fix=_ID_FIX)
        name, variant, modality = (*parts, "", "")[:3]
        return cls(name, variant=variant or None, modality=modality or None)

    @property
    def label(self) -> str:
        """Name of the model in the store."""
        if self.name is not None:
            return self.name
        return "-".join(part for part in (self.id, self.variant, self.modality) if part).replace("+", "-")

    @property
    def choices(self) -> dict[str, Any]:
        """The options as a dictionary."""
        return dict(self.options)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that are not None as JSON values, the options as a dictionary.

        Returns
        -------
        dict
        """
        return {**super().to_dict(), "options": {name: _listed(value) for name, value in self.options}}


def _own(field: str, kind: type[_Own], value: object) -> _Own | None:
    """Return a spec, also where its fields are written as a dictionary or its first one as a text."""
    if value is None or isinstance(value, kind):
        return value
    if isinstance(value, Mapping):
        return kind.from_dict(value)
    if isinstance(value, str) and kind in _BY_NAME:
        return kind.from_dict({_BY_NAME[kind]: value})
    fix = f"give {kind.__name__}(...)"
    raise SpecError(f"ModelSpec.{field}", value=value, reason=f"it is a {type(value).__name__}", fix=fix)


def _sensors(value: object) -> tuple[SensorSpec, ...] | None:
    listed = value if isinstance(value, list | tuple) else [value]
    return tuple(one for one in (_own("sensor", SensorSpec, each) for each in listed) if one is not None) or None


ModelLike: TypeAlias = ModelSpec | str | Mapping[str, Any]
ModelsLike: TypeAlias = ModelLike | Iterable[ModelLike]


def _name(what: str, value: object, fix: str) -> str:
    name = text(what, value, fix=fix)
    if not _NAME.fullmatch(name):
        reason = "names are letters, digits, '-', '_', '.' and '+', and start with a letter or digit"
        raise SpecError(what, value=value, reason=reason, fix=fix)
    return name


def _optional_name(what: str, value: object) -> str | None:
    return None if value is None else _name(what, value, _NAME_FIX)


def _label(name: object) -> str | None:
    label = _optional_name("ModelSpec.name", name)
    if label is not None and "+" in label:
        reason = "the store uses it as the name of a group, which must not contain '+'"
        raise SpecError("ModelSpec.name", value=name, reason=reason, fix="write '-' instead of '+'")
    return label


def _joined(modality: object) -> object:
    """Write several modalities in one order, so that those of "s1+s2" and "s2+s1" are one model."""
    if isinstance(modality, str) and "+" in modality.strip("+"):
        modality = modality.split("+")
    return "+".join(sorted(str(part).strip() for part in modality)) if isinstance(modality, tuple | list) else modality


def _weights(weights: object) -> str:
    source = fspath(weights) if isinstance(weights, PathLike) else weights
    return text("ModelSpec.weights", source, fix="give 'auto', 'random' or the path of a file")


def _device(device: object) -> str:
    if not isinstance(device, str) or not _DEVICE.fullmatch(device):
        fix = "use 'auto', 'cpu', 'cuda' or 'cuda:1'"
        raise SpecError("ModelSpec.device", value=device, reason="torch has no such device", fix=fix)
    return device


def _listed(value: object) -> object:
    return [_listed(part) for part in value] if isinstance(value, tuple) else value


def _frozen_options(options: object) -> tuple[tuple[str, Any], ...]:
    fix = "give a dictionary such as {'patch_px': 8}"
    if isinstance(options, str) or not isinstance(options, Mapping | Iterable):
        raise SpecError("ModelSpec.options", value=options, reason="expected names and values", fix=fix)
    try:
        pairs: dict[Any, Any] = dict(options)
    except (TypeError, ValueError) as error:
        raise SpecError("ModelSpec.options", value=options, reason="expected names and values", fix=fix) from error
    return tuple(sorted((text("ModelSpec.options", key, fix=fix), _frozen(key, value)) for key, value in pairs.items()))


def _frozen(name: str, value: object) -> Any:
    if isinstance(value, list | tuple):
        return tuple(_frozen(name, part) for part in value)
    if isinstance(value, float):
        return number(f"ModelSpec.options[{name!r}]", value)
    if value is None or isinstance(value, str | bool | int):
        return value
    reason = f"expected a plain value that JSON can hold, got {type(value).__name__}"
    raise SpecError(
        f"ModelSpec.options[{name!r}]", value=value, reason=reason, fix="give a number, string, bool or list"
    )
