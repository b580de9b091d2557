"""What a model declares about itself, as frozen data: inputs, weights, sizes, outputs. No torch here."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Literal

from rs_embed_dask.errors import SpecError, UnknownNameError
from rs_embed_dask.models.geometry import fit_image
from rs_embed_dask.models.inputs import Inputs, ModelInput, Option, Scalar, When
from rs_embed_dask.models.steps import Step

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rs_embed_dask.imagery.grid import Window
    from rs_embed_dask.specs import InputPrep, ModelSpec, OutputSpec

__all__ = ["Card", "Inputs", "ModelInput", "Option", "Scalar", "Variant", "Weights", "When"]


@dataclass(frozen=True)
class Weights:
    """A checkpoint: where it lies, under which terms, and how its names become the module's.

    Attributes
    ----------
    repo, file, revision : str
        The Hugging Face repository, the file in it, and the commit. Without `repo`, `url` says where a person gets it.
    sha256, size : str, int
        Digest and bytes, where known: checked.
    licence, restricted : str, bool
        SPDX or short name of the terms, and whether the user must accept them by ``accept_licence=True``.
    keys : tuple of str
        Sub-dictionaries the tensors may lie under; the first that is there is taken.
    prefixes : tuple of str
        Prefixes to strip in turn; where any name has one, names without it are left out.
    rename : tuple of (str, str)
        Parts of names to replace.
    ignore, drop : tuple of str
        Beginnings, and parts, of names that the encoder does not use.
    optional : tuple of str
        Parts of names that a file may lack: the module's own value stays.
    safe_classes : tuple of str
        Harmless classes that the pickle may hold, for example ``"argparse.Namespace"``.
    """

    repo: str = ""
    file: str = ""
    revision: str = "main"
    url: str = ""
    sha256: str = ""
    size: int = 0
    licence: str = "unknown"
    restricted: bool = False
    keys: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    rename: tuple[tuple[str, str], ...] = ()
    ignore: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    safe_classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Variant:
    """One size of a model.

    Attributes
    ----------
    name, params : str, float
        Name within the card, millions of parameters.
    dim, dims : int, tuple of (str, int)
        Length of the vector and of a token (0: the card's `dim_per` works it out), and other lengths by pooling or
        ``"grid"``.
    weights : Weights or None
        None for a model that needs none.
    config : tuple of (str, value)
        Arguments of the encoder's constructor.
    """

    name: str
    dim: int
    weights: Weights | None = None
    config: tuple[tuple[str, Scalar], ...] = ()
    params: float = 0.0
    dims: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Card:
    """All that is known of a model before it is loaded.

    Attributes
    ----------
    id, title, aliases, paper, citation, code_licence, source
        What it is and where it comes from.
    inputs, modalities : tuple of Inputs, tuple of tuple of str
        Every modality; and the sets of them that may be used together, the default first (none: each alone).
    variants, default_variant : tuple of Variant, str
        Its sizes.
    patch_px : int
        Side of a token in the network's pixels (an option ``patch_px`` goes before).
    poolings : tuple of str
        Poolings it offers, its own first.
    extras : tuple of str
        Side inputs it uses: ``"dates"``, ``"place"``, ``"gsd"``.
    options, any_bands : tuple of Option, bool
        Choices of the user's; whether an option ``bands`` may pick some of the bands.
    dim_per : (str, int) or None
        The vector's length as a multiple of an option, or of ``"bands"``.
    float32 : bool
        Never compute in less than float32, not even by default on a GPU.
    kind : {"encoder", "product"}
        A product's vectors are read, not computed.
    parity, notes, deviations : str, tuple of str, tuple of str
        What it was compared with; what to know; where rs-embed gives other numbers.
    """

    id: str
    title: str
    inputs: tuple[Inputs, ...]
    variants: tuple[Variant, ...]
    patch_px: int
    modalities: tuple[tuple[str, ...], ...] = ()
    default_variant: str = ""
    aliases: tuple[str, ...] = ()
    paper: str = ""
    citation: str = ""
    code_licence: str = ""
    source: str = ""
    poolings: tuple[str, ...] = ("mean", "max")
    extras: tuple[str, ...] = ()
    options: tuple[Option, ...] = ()
    any_bands: bool = False
    dim_per: tuple[str, int] | None = None
    float32: bool = False
    kind: Literal["encoder", "product"] = "encoder"
    parity: str = ""
    notes: tuple[str, ...] = ()
    deviations: tuple[str, ...] = ()

    @property
    def needs_weights(self) -> bool:
        """Whether the default variant has a checkpoint."""
        return self.variant(None).weights is not None

    def variant(self, name: str | None) -> Variant:
        """Look a variant up (None = the default). Raises UnknownNameError."""
        wanted = name or self.default_variant or self.variants[0].name
        for variant in self.variants:
            if variant.name == wanted:
                return variant
        raise UnknownNameError.among(f"variant of {self.id}", wanted, (v.name for v in self.variants))

    def chosen(self, options: Iterable[tuple[str, object]]) -> dict[str, Scalar]:
        """Every option with its value: the given ones checked, the defaults for the rest."""
        known = {"bands": Option("bands", ())} if self.any_bands else {}
        known.update({option.name: option for option in self.options})
        values = {name: option.default for name, option in known.items()}
        for name, value in options:
            if name not in known:
                raise UnknownNameError.among(f"option of {self.id}", name, known)
            values[name] = known[name].check(value, self.id)  # type: ignore[arg-type]
        return values

    def modality_names(self, modality: str | None) -> tuple[str, ...]:
        """Split ``"s2+s1"`` into the card's own order. Raises UnknownNameError for a set it cannot use together."""
        sets = self.modalities or tuple((inputs.modality,) for inputs in self.inputs)
        if modality is None:
            return sets[0]
        wanted = {part.strip() for part in modality.split("+")}
        for names in sets:
            if set(names) == wanted:
                return names
        raise UnknownNameError.among(f"modality of {self.id}", modality, ("+".join(names) for names in sets))

    def resolved_inputs(self, spec: ModelSpec) -> tuple[Inputs, ...]:
        """Return the inputs that a request uses, its options applied, in the card's order."""
        options = self.chosen(spec.options)
        by_name = {inputs.modality: inputs for inputs in self.inputs}
        return tuple(by_name[name].resolved(options) for name in self.modality_names(spec.modality))

    def inputs_for(self, spec: ModelSpec, available: frozenset[str]) -> tuple[ModelInput, ...]:
        """Choose a sensor for each modality of a request among those that a provider has.

        Raises
        ------
        SpecError
            Where the provider has none of a modality's sensors.
        """
        wanted = []
        for inputs in self.resolved_inputs(spec):
            sensor = next((name for name in inputs.sensors if name in available), None)
            if sensor is None:
                raise SpecError(
                    f"{self.id}: modality {inputs.modality}",
                    value=inputs.sensors,
                    reason="the provider has none of its sensors",
                    fix=f"choose another provider or modality; it has {', '.join(sorted(available))}",
                )
            wanted.append(ModelInput.of(inputs, sensor))
        return tuple(wanted)

    def pooling(self, output: OutputSpec) -> str:
        """Return the pooling that an output asks for. Raises SpecError where the model has none."""
        name = output.pooling or self.poolings[0]
        if name not in self.poolings:
            listed = ", ".join(self.poolings)
            raise SpecError(
                f"{self.id}: pooling", value=name, reason="it has no such vector", fix=f"use one of {listed}"
            )
        return name

    def dim(self, spec: ModelSpec, output: OutputSpec | None = None) -> int:
        """Length of the vector, or of a token for a grid."""
        kind = None if output is None else "grid" if output.mode == "grid" else self.pooling(output)
        if self.dim_per is not None:
            name, times = self.dim_per
            value = len(self.resolved_inputs(spec)[0].bands) if name == "bands" else self.chosen(spec.options)[name]
            return int(value) * times  # type: ignore[arg-type]
        variant = self.variant(spec.variant)
        return dict(variant.dims).get(kind or "", variant.dim)

    def patch(self, spec: ModelSpec) -> int:
        """Side of a token in the network's pixels."""
        return int(self.chosen(spec.options).get("patch_px", self.patch_px))  # type: ignore[arg-type]

    def grid_shape(
        self, spec: ModelSpec, shape_px: tuple[int, int], prep: InputPrep, *, crop: Window | None = None
    ) -> tuple[int, int]:
        """Rows and columns of the token grid for an image of (H, W) pixels, cut to the crop where there is one."""
        return fit_image(self.resolved_inputs(spec)[0], self.patch(spec), shape_px, prep=prep, crop=crop).shape

    def describe(self) -> dict[str, object]:
        """Write the card as JSON, for receipts and pages."""
        written = _plain(self)
        if not isinstance(written, dict):  # pragma: no cover - a card is a dataclass
            raise TypeError(type(written))
        return written


def _plain(value: object) -> object:
    """Turn dataclasses and tuples into dictionaries and lists."""
    if isinstance(value, Step):
        return value.to_dict()
    if is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
