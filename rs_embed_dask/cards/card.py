"""Sentinel-2 in true colour, as models that were trained on 8-bit images take it."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Self

from rs_embed_dask.errors import SpecError, UnknownNameError
from rs_embed_dask.imagery.sensor_tables import NOT_SERVED, PRODUCTS
from rs_embed_dask.preprocess.geometry import fit_image
from rs_embed_dask.preprocess.inputs import Inputs, ModelInput, Option, Scalar, When
from rs_embed_dask.preprocess.steps import Byte, Clip, Divide, Multiply, Resize, Step

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

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
    """A checkpoint: its location, its licence, and how its names map to the module's.

    Attributes
    ----------
    repo, file, revision : str
        The Hugging Face repository, the file in it, and the commit. Without `repo`, `url` is where to get it by hand.
    sha256, size : str, int
        Digest and bytes; verified where they are given.
    seen : str
        What the repository held when it was consulted, for people: short commit, rounded size. Not verified.
    licence, restricted : str, bool
        SPDX or short name of the terms, and whether the user must accept them by ``accept_licence=True``.
    keys : tuple of str
        Sub-dictionaries that may hold the tensors; the first one present is used.
    prefixes : tuple of str
        Prefixes to strip in turn; where any name has one, names without it are left out.
    rename : tuple of (str, str)
        Parts of names to replace.
    join : tuple of (str, tuple of str)
        Parts of names whose tensors the module concatenates, in order, under the first; a missing vector is zeros.
    ignore, drop : tuple of str
        Beginnings, and parts, of names that the encoder does not use.
    optional : tuple of str
        Parts of names that may be missing from a file: the module keeps its own value.
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
    "max": "the maximum of each feature over those tokens",
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
        Embedding dimension, of the vector and of a token (0: computed from the card's `dim_per`), and others by
        pooling, ``"grid"``, or option, as in ``"head=backbone"``.
    weights : Weights or None
        None for a model that needs none.
    config : tuple of (str, value)
        Arguments of the encoder's constructor.
    patch_px, modality, masks : int, str, str
        The side of a token, the only modality it accepts, and how it masks bands, where these differ from the card's.
    aliases : tuple of str
        Other names, such as the authors' own.
    prefix_dims : tuple of int
        Lengths at which the beginning of a vector is a vector by itself.
    """

    name: str
    dim: int
    weights: Weights | None = None
    config: tuple[tuple[str, Scalar], ...] = ()
    params: float = 0.0
    dims: tuple[tuple[str, int], ...] = ()
    patch_px: int = 0
    modality: str = ""
    masks: str = ""
    aliases: tuple[str, ...] = ()
    prefix_dims: tuple[int, ...] = ()

    @classmethod
    def vit(
        cls, name: str, sizes: tuple[int, int, int], weights: Weights, *config: tuple[str, Scalar], **more: Any
    ) -> Self:
        """Build one from a transformer's width, depth and heads; `config` holds further constructor arguments."""
        return cls(name, sizes[0], weights, (*zip(("dim", "depth", "heads"), sizes, strict=True), *config), **more)


def vectors(*poolings: str, **descriptions: str) -> tuple[tuple[str, str], ...]:
    """Describe a model's vectors, its own first, and its grid; without a description, as in a plain ViT."""
    names = (*(poolings or ("mean", "max")), "grid")
    return tuple((name, descriptions.get(name, _PLAIN[name])) for name in names)


@dataclass(frozen=True)
class Product:
    """Where precomputed vectors are published.

    Attributes
    ----------
    base_url, licence : str
        Folder of the public files; the terms of the data. Empty where vectors are worked out from coordinates.
    resolution_m : float
        Side of a pixel, or of a cell at the equator.
    years : (int, int)
        First and last, one layer per year; (0, 0) for a single layer without a year.
    """

    base_url: str
    licence: str
    resolution_m: float
    years: tuple[int, int] = (0, 0)

    def options(self, *more: Option) -> tuple[Option, ...]:
        """Return the options that every product has, followed by its own."""
        return (
            Option("base_url", self.base_url, doc="another mirror: http(s) address or folder"),
            Option("cache", "", doc="folder for downloaded files; by default the user's cache folder"),
            Option("cache_gb", 20.0, doc="limit in GiB; the least recently used files are removed first"),
            *more,
        )


@dataclass(frozen=True)
class Card:
    """Everything known about a model before it is loaded.

    Attributes
    ----------
    id, title, aliases, paper, citation, code_licence, source
        What it is and where it comes from.
    inputs, modalities : tuple of Inputs, tuple of tuple of str
        Every modality; and the sets that may be combined, the default first (none: each alone).
    together, per_modality : bool
        Whether any set may be combined; whether the encoder is built for those in use, passed as ``modalities``.
    variants, default_variant : tuple of Variant, str
        Its sizes.
    patch_px : int
        Side of a token in the network's pixels (an option ``patch_px`` takes precedence).
    outputs : tuple of (str, str)
        What each vector is, in words, by pooling (the model's own first) or ``"grid"``; see `vectors`.
    extras : tuple of str
        Side inputs it uses: ``"dates"``, ``"place"``, ``"gsd"``; ``"share"``, of each pixel inside a shape.
    whole : tuple of str
        Poolings besides ``"cls"`` whose vector is of the whole image, so that no shape can confine it.
    options, any_bands, masks : tuple of Option, bool, str
        The user's choices; whether an option ``bands`` may select some of the bands, or by which rule of
        `rs_embed_dask.preprocess.inputs.MASKED` the others are then masked ("": the network is made for its bands).
    dim_per : (str, int) or None
        The embedding dimension as a multiple of an option, or of ``"bands"``.
    kernel : str
        The option that is the side, in pixels, of what a pixel's features depend on; in a model without windows only.
    float32 : bool
        Never compute in less than float32, not even by default on a GPU.
    product : Product or None
        Where its vectors are read, if they are not computed.
    parity, notes, deviations : str, tuple of str, tuple of str
        What it was compared with; what users should know; where rs-embed's results differ.
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
    whole: tuple[str, ...] = ()
    options: tuple[Option, ...] = ()
    any_bands: bool = False
    masks: str = ""
    dim_per: tuple[str, int] | None = None
    kernel: str = ""
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
    def is_published(self) -> bool:
        """Whether its vectors are files that are read."""
        return self.product is not None and bool(self.product.base_url)

    @property
    def poolings(self) -> tuple[str, ...]:
        """Available poolings, the model's own first."""
        return tuple(name for name, _ in self.outputs if name != "grid") or ("mean", "max")

    @property
    def years(self) -> tuple[int, int]:
        """First and last year of a product; (0, 0) where it has none."""
        return (0, 0) if self.product is None else self.product.years

    def variant(self, name: str | None) -> Variant:
        """Look up a variant (None = the default). Raises UnknownNameError."""
        requested = name or self.default_variant or self.variants[0].name
        for variant in self.variants:
            if requested.lower() in {alias.lower() for alias in (variant.name, *variant.aliases)}:
                return variant
        raise UnknownNameError.among(f"variant of {self.id}", requested, (v.name for v in self.variants))

    def variant_for(self, spec: ModelSpec) -> Variant:
        """Look up a request's variant; without one, the first that accepts the requested modality."""
        named = self.variant(spec.variant)
        if spec.variant or not named.modality or not spec.modality:
            return named
        return next((variant for variant in self.variants if variant.modality == spec.modality), named)

    def chosen(self, options: Iterable[tuple[str, object]]) -> dict[str, Scalar]:
        """Return every option's value: the user's, validated, or the default."""
        declared = {"bands": Option("bands", ())} if self.any_bands or self.masks else {}
        declared.update({option.name: option for option in self.options})
        values = {name: option.default for name, option in declared.items()}
        for name, value in options:
            if name not in declared:
                raise UnknownNameError.among(f"option of {self.id}", name, declared)
            values[name] = declared[name].check(value, self.id)  # type: ignore[arg-type]
        return values

    def modality_names(self, modality: str | None) -> tuple[str, ...]:
        """Split ``"s2+s1"``, in the card's order. Raises UnknownNameError for a set that it cannot combine."""
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
        self._check_dimensions(variant, options)
        bands = options.pop("bands", ())
        every = tuple(by_name[name].resolved(options) for name in names)
        return self.only(every, bands, spec) if isinstance(bands, tuple) and bands else every

    def only(self, every: tuple[Inputs, ...], bands: tuple[str, ...], spec: ModelSpec) -> tuple[Inputs, ...]:
        """Confine inputs to some bands, the rest masked as the authors do. Raises UnknownNameError, SpecError."""
        known = dict.fromkeys(band for one in every for band in one.bands)
        for band in bands:
            if band not in known:
                raise UnknownNameError.among(f"band of {'+'.join(one.modality for one in every)}", band, known)
        how = self.variant_for(spec).masks or self.masks
        return tuple(one.only(bands, how) for one in every)

    def _check_dimensions(self, variant: Variant, options: Mapping[str, Scalar]) -> None:
        """Refuse the beginning of a vector that is not a vector by itself."""
        wanted = options.get("dimensions")
        if wanted and wanted not in variant.prefix_dims:
            what = f"{self.id} {variant.name}: dimensions"
            lengths = ", ".join(map(str, variant.prefix_dims))
            fix = f"use one of {lengths}, or leave it out" if lengths else "leave it out"
            raise SpecError(what, value=wanted, reason="such a beginning is no vector by itself", fix=fix)

    def inputs_for(self, spec: ModelSpec, available: frozenset[str]) -> tuple[ModelInput, ...]:
        """Choose one available sensor per modality. Raises SpecError where the provider has none of its sensors."""
        model_inputs = []
        for inputs in self.resolved_inputs(spec):
            sensor = next((name for name in inputs.sensors if name in available), None)
            if sensor is None:
                reason = "the provider has none of its sensors" if inputs.sensors else "no provider serves it"
                fix = f"choose another provider or modality; it has {', '.join(sorted(available))}"
                fix += ", or leave level out" if dict(spec.options).get("level", "any") != "any" else ""
                fix = fix if inputs.sensors else "give arrays to Model.embed, or choose another modality"
                only = inputs.sensors[0] if len(inputs.sensors) == 1 else "none"
                has_mission = any(name.startswith(only.rpartition("-")[0]) for name in available)
                if has_mission or only in PRODUCTS:  # it lacks this product of the mission alone, or so do others
                    reason, fix = NOT_SERVED.get(only, (reason, fix))
                raise SpecError(f"{self.id}: modality {inputs.modality}", value=inputs.sensors, reason=reason, fix=fix)
            model_inputs.append(ModelInput.of(inputs, sensor))
        return tuple(model_inputs)

    def pooling(self, output: OutputSpec) -> str:
        """Return the pooling of an output. Raises SpecError where the model does not offer it."""
        name = output.pooling or self.poolings[0]
        if name not in self.poolings:
            reason, fix = "it has no such vector", f"use one of {', '.join(self.poolings)}"
            raise SpecError(f"{self.id}: pooling", value=name, reason=reason, fix=fix)
        return name

    def named(self, output: OutputSpec) -> OutputSpec:
        """Return an output with an explicit pooling: the model's own by default."""
        return output if output.mode == "grid" else replace(output, pooling=self.pooling(output))

    def dim(self, spec: ModelSpec, output: OutputSpec | None = None) -> int:
        """Return the embedding dimension: of the vector, or of a token of a grid."""
        kind = None if output is None else "grid" if output.mode == "grid" else self.pooling(output)
        if self.dim_per is not None:
            name, times = self.dim_per
            value = len(self.resolved_inputs(spec)[0].bands) if name == "bands" else self.chosen(spec.options)[name]
            return int(value) * times  # type: ignore[arg-type]
        variant = self.variant_for(spec)
        if dimensions := self.chosen(spec.options).get("dimensions"):
            return int(dimensions)  # type: ignore[arg-type]
        if kind == "grid" and self.chosen(spec.options).get("over") == "concat":
            return variant.dim * len({g for one in self.resolved_inputs(spec) for g in one.values("group")})
        lengths = dict(variant.dims)
        options = (f"{name}={value}" for name, value in self.chosen(spec.options).items())
        return next((lengths[key] for key in (kind or "", *options) if key in lengths), variant.dim)

    def context_px(self, spec: ModelSpec) -> int:
        """Pixels beyond a token's own that its vector depends on, in a model without windows."""
        side = self.chosen(spec.options)[self.kernel] if self.kernel else 0
        return side // 2 if isinstance(side, int) else 0

    def patch(self, spec: ModelSpec) -> int:
        """Side of a token in the network's pixels."""
        own = self.resolved_inputs(spec)[0].patch_px
        return own or self.variant_for(spec).patch_px or self.patch_px

    def grid_shape(
        self, spec: ModelSpec, shape_px: tuple[int, int], prep: InputPrep, *, crop: Window | None = None
    ) -> tuple[int, int]:
        """Return rows and columns of the token grid of an image of (H, W) pixels, cropped where `crop` is given."""
        if self.product is not None:
            return shape_px
        return fit_image(self.resolved_inputs(spec)[0], self.patch(spec), shape_px, prep=prep, crop=crop).shape

    def describe(self) -> dict[str, object]:
        """Return the card as JSON values, for receipts and pages."""
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
    """Return a modality of red, green and blue, 224 x 224 pixels by default."""
    more = {"sensors": ("sentinel-2-l2a", "sentinel-2-l1c"), "size_px": 224, "max_cloud_pct": 30, **more}
    return Inputs("rgb", bands=("red", "green", "blue"), steps=steps, when=when, **more)


def either(*scale: Step, first: tuple[Step, ...] = BYTES) -> tuple[tuple[Step, ...], When]:
    """Return the steps with Pillow's 8-bit resize, and those of the option ``resize="float"``."""
    return (*first, Resize("bicubic_u8"), *scale), When("resize", "float", (("steps", (*first, *scale, BICUBIC)),))
