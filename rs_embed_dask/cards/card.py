"""Sentinel-2 in true colour, as models that were trained on 8-bit images take it."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Self

from rs_embed_dask.errors import SpecError, UnknownNameError
from rs_embed_dask.preprocess.geometry import fit_image
from rs_embed_dask.preprocess.inputs import Inputs, ModelInput, Option, Scalar, When
from rs_embed_dask.preprocess.steps import Byte, Clip, Divide, Multiply, Resize, Step

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rs_embed_dask.imagery.grid import Window
    from rs_embed_dask.specs import InputPrep, ModelSpec, OutputSpec

__all__ = [
    "BICUBIC",
    "BYTES",
    "Card",
    "Inputs",
    "ModelInput",
    "Option",
    "Product",
    "Scalar",
    "Variant",
    "Weights",
    "When",
    "either",
    "rgb",
    "vectors",
]


@dataclass(frozen=True)
class Weights:
    """A checkpoint: where it lies, under which terms, and how its names become the module's.

    Attributes
    ----------
    repo, file, revision : str
        The Hugging Face repository, the file in it, and the commit. Without `repo`, `url` says where a person gets it.
    sha256, size : str, int
        Digest and bytes, where known: checked.
    seen : str
        What was there when it was looked at, for people: the beginning of the commit, the size rounded. Not checked.
    licence, restricted : str, bool
        SPDX or short name of the terms, and whether the user must accept them by ``accept_licence=True``.
    keys : tuple of str
        Sub-dictionaries the tensors may lie under; the first that is there is taken.
    prefixes : tuple of str
        Prefixes to strip in turn; where any name has one, names without it are left out.
    rename : tuple of (str, str)
        Parts of names to replace.
    join : tuple of (str, tuple of str)
        Parts of names whose tensors the module has as one, under the first: in order, zeros for a vector that is not
        there.
    ignore, drop : tuple of str
        Beginnings, and parts, of names that the encoder does not use.
    optional : tuple of str
        Parts of names that a file may lack: the module's own value stays.
    spare : tuple of str
        Beginnings of names of parts that the encoder may be built without; such a part's tensors are left out then.
    safe_classes : tuple of str
        Harmless classes that the pickle may hold, for example ``"argparse.Namespace"``.
    """

    repo: str = ""
    file: str = ""
    revision: str = "main"
    url: str = ""
    sha256: str = ""
    size: int = 0
    seen: str = ""
    licence: str = "unknown"
    restricted: bool = False
    keys: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    rename: tuple[tuple[str, str], ...] = ()
    join: tuple[tuple[str, tuple[str, ...]], ...] = ()
    ignore: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    spare: tuple[str, ...] = ()
    safe_classes: tuple[str, ...] = ()


_PLAIN = {
    "mean": "the mean of the patch tokens after the final norm",
    "max": "the largest number of each feature over those tokens",
    "cls": "the class token after the final norm",
    "grid": "the patch tokens after the final norm",
}


@dataclass(frozen=True)
class Variant:
    """One size of a model.

    Attributes
    ----------
    name, params : str, float
        Name within the card, millions of parameters.
    dim, dims : int, tuple of (str, int)
        Length of the vector and of a token (0: the card's `dim_per` works it out), and other lengths by pooling,
        ``"grid"``, or option, as in ``"head=backbone"``.
    weights : Weights or None
        None for a model that needs none.
    config : tuple of (str, value)
        Arguments of the encoder's constructor.
    patch_px, modality : int, str
        The side of a token, and the only modality it takes, where these are not the card's.
    aliases : tuple of str
        Other names of it, the authors' own.
    """

    name: str
    dim: int
    weights: Weights | None = None
    config: tuple[tuple[str, Scalar], ...] = ()
    params: float = 0.0
    dims: tuple[tuple[str, int], ...] = ()
    patch_px: int = 0
    modality: str = ""
    aliases: tuple[str, ...] = ()

    @classmethod
    def vit(
        cls, name: str, sizes: tuple[int, int, int], weights: Weights, *config: tuple[str, Scalar], **more: Any
    ) -> Self:
        """Make one of a transformer by its width, depth and heads; `config` is what else its constructor gets."""
        return cls(name, sizes[0], weights, (*zip(("dim", "depth", "heads"), sizes, strict=True), *config), **more)


def vectors(*poolings: str, **descriptions: str) -> tuple[tuple[str, str], ...]:
    """Say what the vectors of a model are, its own first; of what nothing is said, what it is in a plain ViT."""
    names = (*(poolings or ("mean", "max")), "grid")
    return tuple((name, descriptions.get(name, _PLAIN[name])) for name in names)


@dataclass(frozen=True)
class Product:
    """Where vectors that were computed already are published.

    Attributes
    ----------
    base_url, licence : str
        Folder of the public files; the terms of the data.
    resolution_m : float
        Side of a pixel, or of a cell at the equator.
    years : (int, int)
        First and last, one layer a year; (0, 0) for one layer of all times.
    """

    base_url: str
    licence: str
    resolution_m: float
    years: tuple[int, int] = (0, 0)

    def options(self, *more: Option) -> tuple[Option, ...]:
        """Return the choices that every product has, and those of its own."""
        return (
            Option("base_url", self.base_url, doc="another mirror: http(s) address or folder"),
            Option("cache", "", doc="folder of files that are kept, else the user's cache folder"),
            Option("cache_gb", 20.0, doc="GiB that they may take; what was not used for longest goes first"),
            *more,
        )


@dataclass(frozen=True)
class Card:
    """All that is known of a model before it is loaded.

    Attributes
    ----------
    id, title, aliases, paper, citation, code_licence, source
        What it is and where it comes from.
    inputs, modalities : tuple of Inputs, tuple of tuple of str
        Every modality; and the sets of them that may be used together, the default first (none: each alone).
    together, per_modality : bool
        Whether any set may; whether the encoder is built for those in use, handed to it as ``modalities``.
    variants, default_variant : tuple of Variant, str
        Its sizes.
    patch_px : int
        Side of a token in the network's pixels (an option ``patch_px`` goes before).
    outputs : tuple of (str, str)
        What each vector is, in words, by pooling (the model's own first) or ``"grid"``; see `vectors`.
    extras : tuple of str
        Side inputs it uses: ``"dates"``, ``"place"``, ``"gsd"``.
    options, any_bands : tuple of Option, bool
        Choices of the user's; whether an option ``bands`` may pick some of the bands.
    dim_per : (str, int) or None
        The vector's length as a multiple of an option, or of ``"bands"``.
    float32 : bool
        Never compute in less than float32, not even by default on a GPU.
    product : Product or None
        Where its vectors are read, if they are not computed; then it has no inputs.
    parity, notes, deviations : str, tuple of str, tuple of str
        What it was compared with; what to know; where rs-embed gives other numbers.
    """

    id: str
    title: str
    inputs: tuple[Inputs, ...]
    variants: tuple[Variant, ...]
    patch_px: int
    modalities: tuple[tuple[str, ...], ...] = ()
    together: bool = False
    per_modality: bool = False
    default_variant: str = ""
    aliases: tuple[str, ...] = ()
    paper: str = ""
    citation: str = ""
    code_licence: str = ""
    source: str = ""
    outputs: tuple[tuple[str, str], ...] = ()
    extras: tuple[str, ...] = ()
    options: tuple[Option, ...] = ()
    any_bands: bool = False
    dim_per: tuple[str, int] | None = None
    float32: bool = False
    product: Product | None = None
    parity: str = ""
    notes: tuple[str, ...] = ()
    deviations: tuple[str, ...] = ()

    @property
    def kind(self) -> Literal["encoder", "product"]:
        """Whether its vectors are computed or read."""
        return "encoder" if self.product is None else "product"

    @property
    def poolings(self) -> tuple[str, ...]:
        """Poolings it offers, its own first."""
        return tuple(name for name, _ in self.outputs if name != "grid") or ("mean", "max")

    @property
    def years(self) -> tuple[int, int]:
        """First and last year of a product; (0, 0) where it has none."""
        return (0, 0) if self.product is None else self.product.years

    def variant(self, name: str | None) -> Variant:
        """Look a variant up (None = the default). Raises UnknownNameError."""
        requested = name or self.default_variant or self.variants[0].name
        for variant in self.variants:
            if requested.lower() in {alias.lower() for alias in (variant.name, *variant.aliases)}:
                return variant
        raise UnknownNameError.among(f"variant of {self.id}", requested, (v.name for v in self.variants))

    def variant_for(self, spec: ModelSpec) -> Variant:
        """Look a request's variant up: the first that takes its modality, where it names no variant and they differ."""
        named = self.variant(spec.variant)
        if spec.variant or not named.modality or not spec.modality:
            return named
        return next((variant for variant in self.variants if variant.modality == spec.modality), named)

    def chosen(self, options: Iterable[tuple[str, object]]) -> dict[str, Scalar]:
        """Every option with its value: the given ones checked, the defaults for the rest."""
        declared = {"bands": Option("bands", ())} if self.any_bands else {}
        declared.update({option.name: option for option in self.options})
        values = {name: option.default for name, option in declared.items()}
        for name, value in options:
            if name not in declared:
                raise UnknownNameError.among(f"option of {self.id}", name, declared)
            values[name] = declared[name].check(value, self.id)  # type: ignore[arg-type]
        return values

    def modality_names(self, modality: str | None) -> tuple[str, ...]:
        """Split ``"s2+s1"`` into the card's own order. Raises UnknownNameError for a set it cannot use together."""
        sets = self.modalities or tuple((inputs.modality,) for inputs in self.inputs)
        if modality is None:
            return sets[0] if sets else ()
        requested = {part.strip() for part in modality.split("+")}
        for names in sets:
            if set(names) == requested:
                return names
        available = tuple(inputs.modality for inputs in self.inputs)
        if self.together and requested <= set(available):
            return tuple(name for name in available if name in requested)
        raise UnknownNameError.among(f"modality of {self.id}", modality, ("+".join(names) for names in sets))

    def resolved_inputs(self, spec: ModelSpec) -> tuple[Inputs, ...]:
        """Return the inputs that a request uses, its options applied, in the card's order."""
        options = self.chosen(spec.options)
        by_name = {inputs.modality: inputs for inputs in self.inputs}
        variant = self.variant_for(spec)
        names = self.modality_names(spec.modality or variant.modality or None)
        if variant.modality and names != (variant.modality,):
            what = f"modality of {self.id} {variant.name}"
            raise UnknownNameError.among(what, spec.modality, (variant.modality,))
        return tuple(by_name[name].resolved(options) for name in names)

    def inputs_for(self, spec: ModelSpec, available: frozenset[str]) -> tuple[ModelInput, ...]:
        """Choose a sensor a modality among those that a provider has. Raises SpecError where it has none of them."""
        model_inputs = []
        for inputs in self.resolved_inputs(spec):
            sensor = next((name for name in inputs.sensors if name in available), None)
            if sensor is None:
                reason = "the provider has none of its sensors" if inputs.sensors else "no provider serves it"
                fix = f"choose another provider or modality; it has {', '.join(sorted(available))}"
                fix = fix if inputs.sensors else "give arrays to Model.embed, or choose another modality"
                raise SpecError(f"{self.id}: modality {inputs.modality}", value=inputs.sensors, reason=reason, fix=fix)
            model_inputs.append(ModelInput.of(inputs, sensor))
        return tuple(model_inputs)

    def pooling(self, output: OutputSpec) -> str:
        """Return the pooling that an output asks for. Raises SpecError where the model has none."""
        name = output.pooling or self.poolings[0]
        if name not in self.poolings:
            reason, fix = "it has no such vector", f"use one of {', '.join(self.poolings)}"
            raise SpecError(f"{self.id}: pooling", value=name, reason=reason, fix=fix)
        return name

    def named(self, output: OutputSpec) -> OutputSpec:
        """Return an output with its pooling named: the model's own where none was asked for."""
        return output if output.mode == "grid" else replace(output, pooling=self.pooling(output))

    def dim(self, spec: ModelSpec, output: OutputSpec | None = None) -> int:
        """Length of the vector, or of a token for a grid."""
        kind = None if output is None else "grid" if output.mode == "grid" else self.pooling(output)
        if self.dim_per is not None:
            name, times = self.dim_per
            value = len(self.resolved_inputs(spec)[0].bands) if name == "bands" else self.chosen(spec.options)[name]
            return int(value) * times  # type: ignore[arg-type]
        variant = self.variant_for(spec)
        if kind == "grid" and self.chosen(spec.options).get("over") == "concat":
            return variant.dim * len({g for one in self.resolved_inputs(spec) for g in one.values("group")})
        lengths = dict(variant.dims)
        options = (f"{name}={value}" for name, value in self.chosen(spec.options).items())
        return next((lengths[key] for key in (kind or "", *options) if key in lengths), variant.dim)

    def patch(self, spec: ModelSpec) -> int:
        """Side of a token in the network's pixels."""
        own = self.resolved_inputs(spec)[0].patch_px
        return own or self.variant_for(spec).patch_px or self.patch_px

    def grid_shape(
        self, spec: ModelSpec, shape_px: tuple[int, int], prep: InputPrep, *, crop: Window | None = None
    ) -> tuple[int, int]:
        """Rows and columns of the token grid for an image of (H, W) pixels, cut to the crop where there is one."""
        if self.product is not None:
            return shape_px
        return fit_image(self.resolved_inputs(spec)[0], self.patch(spec), shape_px, prep=prep, crop=crop).shape

    def describe(self) -> dict[str, object]:
        """Write the card as JSON, for receipts and pages."""
        return {f.name: _plain(getattr(self, f.name)) for f in fields(self)}


def _plain(value: object) -> object:
    """Turn dataclasses and tuples into dictionaries and lists."""
    if isinstance(value, Step):
        return value.to_dict()
    if is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


BYTES = (Clip(0, 10_000), Divide(10_000.0), Multiply(255.0), Byte())
BICUBIC = Resize("bicubic", antialias=True)


def rgb(steps: tuple[Step, ...], *when: When, **more: Any) -> Inputs:
    """Make the modality of red, green and blue, at 224 pixels a side where nothing else is said."""
    more = {"sensors": ("sentinel-2-l2a", "sentinel-2-l1c"), "size_px": 224, "max_cloud_pct": 30, **more}
    return Inputs("rgb", bands=("red", "green", "blue"), steps=steps, when=when, **more)


def either(*scale: Step, first: tuple[Step, ...] = BYTES) -> tuple[tuple[Step, ...], When]:
    """Return the steps of Pillow's resize of 8 bits, and those of the option ``resize="float"``."""
    return (*first, Resize("bicubic_u8"), *scale), When("resize", "float", (("steps", (*first, *scale, BICUBIC)),))
