"""A loaded model: card, encoder and device. It maps arrays or cubes to features."""

from __future__ import annotations

import warnings
from collections import defaultdict
from contextlib import nullcontext
from copy import copy
from dataclasses import asdict, replace
from functools import partial
from itertools import chain, pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch

from rs_embed_dask.errors import ModelError, ModelInputError, RsEmbedError, SpecError
from rs_embed_dask.imagery.coverage import coverage_of
from rs_embed_dask.inference import arrays
from rs_embed_dask.inference.device import Transfer, choose_device, placed
from rs_embed_dask.inference.features import Features, cells, confined, cut_tiles, joined, pooled, stitched
from rs_embed_dask.preprocess.batch import Batch, completed
from rs_embed_dask.preprocess.geometry import Fit, fit_image, place_grid
from rs_embed_dask.preprocess.inputs import MASKED
from rs_embed_dask.preprocess.samples import Sample, admit, fitted, from_cubes
from rs_embed_dask.specs import InputPrep, ModelSpec, OutputSpec
from rs_embed_dask.specs.positions import KEPT, PositionTable

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray
    from shapely import Geometry
    from torch import Tensor, nn

    from rs_embed_dask.cards.card import Card
    from rs_embed_dask.embedding import Embedding
    from rs_embed_dask.imagery.cube import Cube
    from rs_embed_dask.imagery.grid import Window
    from rs_embed_dask.models.weights import WeightsInfo
    from rs_embed_dask.preprocess.batch import Tokens

    _Member = tuple[int, Sample, tuple[Fit, ...]]
    _Finish = Callable[[], list[Features | RsEmbedError]]

__all__ = ["Model"]

_POOLED = OutputSpec.pooled()
_RESIZE = InputPrep.resize()
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_IMAGES = {"cpu": 8, "cuda": 64}


class Model:
    """A model ready to run; `rs_embed_dask.load_model` makes it.

    Attributes
    ----------
    card, spec : Card, ModelSpec
        The model's declaration, and the request.
    encoder, device, dtype
        The network, in evaluation mode; where it runs; float32, or the type of its automatic casts.
    inputs, patch : tuple of Inputs, int
        The modalities in use, with the options applied; network pixels per token side.
    max_images : int
        Most images the network sees at once; halved, for the life of the model, when they exceed the device's memory.
    """

    def __init__(self, card: Card, spec: ModelSpec, encoder: nn.Module, info: WeightsInfo) -> None:
        self.card = card
        self.spec = spec
        self.device = choose_device(spec.device)
        default = "bfloat16" if self.device.type == "cuda" and not card.float32 else "float32"
        self.dtype = _DTYPES[default if spec.dtype == "auto" else spec.dtype]
        self.encoder = placed(encoder, self.device)
        self.inputs = card.resolved_inputs(spec)
        self.patch = card.patch(spec)
        self.max_images = _IMAGES.get(self.device.type, 8)
        self._info = info
        self._transfer = Transfer(self.device)

    def __repr__(self) -> str:
        modalities = "+".join(inputs.modality for inputs in self.inputs)
        where = f"{self.device}, {str(self.dtype).removeprefix('torch.')}"
        return f"Model({self.card.id}, {self.card.variant_for(self.spec).name}, {modalities}, {where})"

    @property
    def weights_info(self) -> dict[str, str | bool]:
        """Source, digest and licence of the weights, and whether they are random: for the receipt."""
        return asdict(self._info)

    def embed(
        self,
        data: arrays.PixelsLike,
        *,
        output: OutputSpec = _POOLED,
        prep: InputPrep | None = None,
        dates: arrays.DatesLike | None = None,
        place: arrays.PlacesOf | None = None,
        resolution_m: float | None = None,
    ) -> Embedding:
        """Embed raw pixels: no provider and no Dask needed.

        Parameters
        ----------
        data : array, DataArray, Cube, or dict of those by modality
            (B, H, W), (T, B, H, W) or (N, T, B, H, W) in canonical units: reflectance x 10 000, dB, kelvin; NaN is
            missing. Bands in the card's order, or named by a DataArray's ``band`` coordinate or a Dataset's variables;
            of models that mask the others, some of the bands, by name; of those that take any modalities together, some
            of these. Missing values, scale, offset and unit that they state are honoured (``docs/your-data.md``).
        output : OutputSpec
            One vector, or a grid.
        prep : InputPrep, optional
            Resize, tile or auto. Default: that of the model's spec, else resize.
        dates : sequence of dates, optional
            One per frame; N such sequences; or a dict of those by modality, where each has frames of its own. A
            DataArray's ``time`` coordinate serves too.
        place : (lon, lat), optional
            Degrees; or N of them.
        resolution_m : float, optional
            Ground size of a pixel; by default the grid's or the card's.

        Returns
        -------
        Embedding
            `data` is (D,) or (D, h, w), preceded by N for a batch of N items; the grid of a single item whose place is
            known is a DataArray with coordinates. ``meta`` states bands, unit, frames, the size of the network's
            image, options, weights and dtype.

        Raises
        ------
        ModelInputError
            Bands, frames, units or side inputs do not match the card.
        NoImageryError
            An item has no usable frame.

        Examples
        --------
        >>> import numpy as np
        >>> from rs_embed_dask.inference.loading import load_model
        >>> load_model("rcf", features=8).embed(np.full((10, 16, 16), 900.0)).data.shape
        (16,)
        """
        side, masking = arrays.SideInputs(dates, place, resolution_m), self._masking(data)
        samples, batched = arrays.samples(data, masking.inputs, side)
        chosen, given = prep or self.spec.prep or _RESIZE, self._given(output)
        results = masking.embed_samples(samples, output if given is None else replace(output, positions=KEPT), chosen)
        for result in results:
            if isinstance(result, RsEmbedError):
                raise result
        done = [self._without(result, given) for result in results if isinstance(result, Features)]
        about = {
            "model": self.card.id,
            "variant": self.card.variant_for(self.spec).name,
            "modality": "+".join(inputs.modality for inputs in masking.inputs),
            "output": self.card.named(output).to_dict(),
            "weights": self.weights_info,
            "dtype": str(self.dtype).removeprefix("torch."),
            **masking._input_facts(samples[0], chosen),  # noqa: SLF001 - this model, with fewer bands
        }
        return arrays.embedding(done, about, batched=batched)

    def check_input(self, data: object) -> list[dict[str, dict[str, object]]]:
        """Report what looks wrong with raw pixels, without running the network.

        Parameters
        ----------
        data : array, DataArray, Cube, or dict of those by modality
            As in `embed`.

        Returns
        -------
        list of dict
            One per item: by modality, numbers of each band, ``ok``, and ``issues`` in words, such as bands without
            variation and missing numbers.

        Raises
        ------
        ModelInputError
            As `embed`.

        Examples
        --------
        >>> import numpy as np
        >>> from rs_embed_dask.inference.loading import load_model
        >>> load_model("rcf", features=8).check_input(np.full((10, 16, 16), 900.0))[0]["s2"]["issues"]
        ['s2: bands [0, 1, 2, 3, 4, 5, 6, 7, 8, 9] are constant']
        """
        samples, _ = arrays.samples(data, self._masking(data).inputs, arrays.SideInputs())
        return [arrays.checked(sample) for sample in samples]

    def _masking(self, data: object) -> Model:
        """Return this model or, with a warning, one without the modalities, or the bands, that are not there."""
        there = arrays.present(data, self.inputs) if self.card.together else self.inputs
        bands = arrays.fewer_bands(data, there)
        if bands and not (self.card.masks or self.card.any_bands):
            lacking = next(band for one in there for band in one.bands if band not in bands)
            reason = f"no {lacking}, and the authors' code has no rule for a missing band"
            raise ModelInputError(f"bands of {self.card.id}", value=bands, reason=reason, fix=f"give {lacking} too")
        if not bands and there == self.inputs:
            return self
        other = copy(self)
        other.inputs = self.card.only(there, bands, self.spec) if bands else there
        left = [f"{one.modality}: {MASKED['drop']}; modality=" for one in self.inputs if one not in there]
        masked = ", ".join(f"{', '.join(one.masked)} of {one.modality}" for one in other.inputs if one.masked)
        if masked:
            how = MASKED[next(one.masking for one in other.inputs if one.masking)]
            left.append(f"{masked}: {how}; bands=")
        for text in left:
            warnings.warn(f"{self.card.id}: {text} of load_model says so", UserWarning, stacklevel=3)
        return other

    def _input_facts(self, sample: Sample, prep: InputPrep) -> dict[str, object]:
        """State what the network is given of a sample."""
        fits = self.fits(sample, prep)
        inputs = {
            one.modality: {
                "bands": list(one.bands),
                **({"masked": list(one.masked)} if one.masked else {}),
                "unit": one.unit,
                "resolution_m": sample.resolution_m,
                "frames": len(sample.pixels[one.modality]),
                "input_px": list(fit.net_px),
                "tiles": fit.tile_count,
            }
            for one, fit in zip(self.inputs, fits, strict=True)
        }
        return {"inputs": inputs, "options": self.card.chosen(self.spec.options), "prep": prep.mode}

    def _given(self, output: OutputSpec) -> PositionTable | None:
        """Return the table of positions that is taken away, if any. Refuses to measure one: a call has no store."""
        table = output.positions
        if output.positions_mode == KEPT:
            return None
        if self.inputs[0].native:
            reason, fix = "its tokens have no position in a window: it has none", "leave positions out"
        elif isinstance(table, PositionTable):
            return table
        else:
            reason = "a call of a model neither measures positions nor opens a store"
            fix = "give the table itself, as open_store(path)[label].position_mean.values, or use compute_embeddings"
        raise SpecError(f"{self.card.id}: positions", value=table, reason=reason, fix=fix)

    def _without(self, one: Features, table: PositionTable | None) -> Features:
        """Take positions from a grid."""
        if table is None or one.fit is None:
            return one
        about = {"model": self.card.id, "variant": self.card.variant_for(self.spec).name, "patch_px": self.patch}
        fitting = table.fitting(dim=len(one.values), window=one.fit.window[0], **about)
        return replace(one, values=fitting.without(one.values, one.fit.places))

    def embed_cubes(
        self,
        samples: Sequence[Mapping[str, Cube]],
        output: OutputSpec = _POOLED,
        prep: InputPrep = _RESIZE,
        *,
        crops: Sequence[Window | None] | None = None,
        outlines: Sequence[Geometry | None] | None = None,
    ) -> list[Features | RsEmbedError]:
        """Embed items that were read; the engine calls this.

        Parameters
        ----------
        samples : sequence of dict of str to Cube
            One per item: its cubes by modality.
        output, prep : OutputSpec, InputPrep
            As in `embed`.
        crops : sequence of Window or None, optional
            The requested part of each item's grid, where the read was enlarged to a square.
        outlines : sequence of shapely geometry or None, optional
            The shape of each item, in the reference system of its grid, to which its result is confined.

        Returns
        -------
        list
            Features, or the error of an item that failed, in the order of the samples.
        """
        taken: list[Sample | RsEmbedError] = []
        blank = [None] * len(samples)
        for cubes, crop, outline in zip(samples, crops or blank, outlines or blank, strict=True):
            try:
                taken.append(from_cubes(cubes, self.inputs, crop, outline=outline))
            except RsEmbedError as error:
                taken.append(error)
        return self.embed_samples(taken, output, prep)

    def embed_samples(
        self, samples: Sequence[Sample | RsEmbedError], output: OutputSpec = _POOLED, prep: InputPrep = _RESIZE
    ) -> list[Features | RsEmbedError]:
        """Embed samples; those of equal shape share batches, and errors among them pass through."""
        if output.mode == "pooled":
            self.card.pooling(output)
        results: list[Features | RsEmbedError | None] = [None] * len(samples)
        groups: dict[object, list[_Member]] = defaultdict(list)
        for index, sample in enumerate(samples):
            try:
                if isinstance(sample, RsEmbedError):
                    raise sample
                ready = admit(sample, self.inputs)
                fits = self.fits(ready, prep)
            except RsEmbedError as error:
                results[index] = error
                continue
            shapes = tuple(frames.shape for frames in ready.pixels.values())
            groups[fits, shapes, ready.outline is None].append((index, ready, fits))
        begun = (part for members in groups.values() for part in self._begun(members, output))
        for (part, finish), _ in pairwise(chain(begun, [((), list)])):  # finish one when the next is on its way
            for (index, _, _), result in zip(part, finish(), strict=True):
                results[index] = result
        return [result for result in results if result is not None]

    def _begun(self, members: Sequence[_Member], output: OutputSpec) -> Iterator[tuple[Sequence[_Member], _Finish]]:
        """Begin samples of equal shape, as many at once as the device's memory holds."""
        tiles, start = members[0][2][0].tile_count, 0
        while start < len(members):
            part = members[start : start + max(1, self.max_images // tiles)]
            try:
                finish = self._features([ready for _, ready, _ in part], part[0][2], output)
            except torch.OutOfMemoryError as fault:
                images = min(self.max_images, len(part) * tiles)
                if images > 1:
                    self.max_images = images // 2
                    continue
                reason, _, _ = str(fault).partition("\n")
                fix = "use a smaller image (max_px) or variant, dtype='bfloat16', or a device with more memory"
                error = ModelError(f"{self.card.id}: memory of {self.device}", reason=reason, fix=fix)
                finish = partial(list, [error] * len(part))
            start += len(part)
            yield part, finish

    def fits(self, sample: Sample, prep: InputPrep = _RESIZE) -> tuple[Fit, ...]:
        """Plan how each modality of a sample fits the network; see `fit_image`."""
        fits = []
        shapes = {frames.shape[-2:] for frames in sample.pixels.values()}
        prep = _RESIZE if prep.mode == "auto" and len(shapes) > 1 else prep
        for inputs in self.inputs:
            shape = sample.pixels[inputs.modality].shape[-2:]
            patch = self.patch * (inputs.patch_px or 1) // (self.inputs[0].patch_px or 1)
            crop = sample.crop if shape == sample.shape else None
            fits.append(fit_image(inputs, patch, shape, prep=prep, crop=crop))
        return tuple(fits)

    def prepare(self, samples: Sequence[Sample], prep: InputPrep = _RESIZE) -> Batch:
        """Prepare samples of one shape for the encoder: scaled, resized or in tiles, on its device."""
        ready = [admit(sample, self.inputs) for sample in samples]
        return self._batch(ready, self.fits(ready[0], prep))

    def tokens(self, batch: Batch) -> Tokens:
        """Run the encoder on a prepared batch."""
        full = self.dtype == torch.float32
        cast = nullcontext() if full else torch.autocast(self.device.type, self.dtype)
        # By default PyTorch rounds the inputs of float32 convolutions to 10 bits on a GPU.
        exact = (
            torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
            if full and self.device.type == "cuda"
            else nullcontext()
        )
        with torch.inference_mode(), cast, exact:
            tokens: Tokens = self.encoder(batch)
        return tokens

    def reduce(
        self, tokens: Tokens, fit: Fit, output: OutputSpec = _POOLED, *, share: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """Reduce the tokens of items of one shape to vectors (B, D) or grids (B, D, h, w)."""
        # `share` (B, h, w): of each token, what lies inside the item's own shape
        return self._reduced(tokens, fit, output, share)()

    def _reduced(
        self, tokens: Tokens, fit: Fit, output: OutputSpec, share: NDArray[np.float32] | None
    ) -> Callable[[], NDArray[np.float32]]:
        if share is not None and output.mode == "pooled":
            weights = self._transfer.to_device(torch.from_numpy(share))
            by_pixel = "share" in self.card.extras
            values = confined(tokens, fit, weights, pooling=self.card.pooling(output), by_pixel=by_pixel)
            return self._transfer.to_host(values)
        lattice = stitched(tokens.patches, fit)  # (B, h, w, ..., D)
        if output.mode == "grid":
            return self._transfer.to_host(cells(tokens, lattice).permute(0, 3, 1, 2))  # (B, D, h, w)
        return self._transfer.to_host(pooled(tokens, lattice, fit, pooling=self.card.pooling(output)))

    def _batch(self, ready: Sequence[Sample], fits: tuple[Fit, ...]) -> Batch:
        images, visible = {}, {}
        for inputs, fit in zip(self.inputs, fits, strict=True):
            name = inputs.modality
            raw = torch.from_numpy(np.stack([fitted(sample.pixels[name], fit) for sample in ready]))
            tiles = cut_tiles(self._transfer.to_device(raw), fit)  # (B tiles, T, C, H, W)
            prepared = completed(tiles.flatten(0, 1), inputs, fit.resized_px, crop=fit.net_px)
            images[name] = prepared.unflatten(0, tiles.shape[:2])  # (B tiles, T, C, h, w)
            mask = np.stack([sample.visible[name] for sample in ready])
            if not mask.all():
                visible[name] = self._spread(torch.from_numpy(mask), fit)
        cell = min(fits[0].cell_px) / self.patch
        read = [sample.resolution_m for sample in ready]
        places = [sample.lonlat for sample in ready]
        dates = [_days(sample.dates) for sample in ready] if not ready[0].dates_of else []
        located = None not in places
        return Batch(
            images,
            {inputs.modality: inputs for inputs in self.inputs},
            dates=self._spread(torch.tensor(dates), fits[0]) if dates and all(dates) else None,
            lonlat=self._spread(torch.tensor(places, dtype=torch.float64), fits[0]) if located else None,
            gsd_m=self._spread(torch.tensor([metres * cell for metres in read]), fits[0]),
            read_m=self._spread(torch.tensor(read), fits[0]),
            share=self._pixel_share(ready, fits[0]),
            visible=visible,
            dates_of={
                name: self._spread(torch.tensor([_days(one.dates_of[name]) for one in ready]), fits[0])
                for name in ready[0].dates_of
            },
        )

    def _pixel_share(self, ready: Sequence[Sample], fit: Fit) -> Tensor | None:
        """Return the share of each pixel of the image inside the item's shape: (B, H, W)."""
        shares = [sample.share[fit.image.slices] for sample in ready if sample.share is not None]
        if not shares or "share" not in self.card.extras:
            return None
        return self._spread(torch.from_numpy(np.stack(shares)), fit)

    def _spread(self, values: Tensor, fit: Fit) -> Tensor:
        """Repeat each item's row once per tile."""
        return self._transfer.to_device(values.repeat_interleave(fit.tile_count, dim=0))

    def _features(self, ready: Sequence[Sample], fits: tuple[Fit, ...], output: OutputSpec) -> _Finish:
        """Begin to compute: on a GPU, what is returned waits for it."""
        fit, grid = fits[0], output.mode == "grid"
        framed = grid and not self.inputs[0].native
        try:
            batch = self._batch(ready, fits)
            rows = range(0, len(batch), self.max_images)
            tokens = joined([self.tokens(batch.part(row, row + self.max_images)) for row in rows])
            share = _token_share(ready, fit)
            values = self._reduced(tokens, fit, output, share)
            windows = self._windows(tokens) if framed and output.positions_mode != KEPT else None
        except RsEmbedError as error:
            return partial(list, [error] * len(ready))

        def finish() -> list[Features | RsEmbedError]:
            rows = zip(ready, values(), strict=True)
            finished = [self._finished(sample, fit, row, grid=grid) for sample, row in rows]
            if framed:
                finished = _framed(finished, fit, None if windows is None else windows())
            shares = [None] * len(ready) if share is None else share
            return [_covered(one, of, grid=grid) for one, of in zip(finished, shares, strict=True)]

        return finish

    def _windows(self, tokens: Tokens) -> Callable[[], NDArray[np.float32]]:
        """Return the whole windows, (B tiles, D, h, w): what positions are measured from."""
        return self._transfer.to_host(cells(tokens, tokens.patches).permute(0, 3, 1, 2))

    def _finished(self, sample: Sample, fit: Fit, row: NDArray[np.float32], *, grid: bool) -> Features | RsEmbedError:
        if self.inputs[0].fill != "keep" and not np.isfinite(row).all():
            fix = "look at the pixels, or use dtype='float32'"
            return ModelError(f"{self.card.id}: embedding", reason="it has values that are not finite", fix=fix)
        place = place_grid(sample.grid, fit) if grid and sample.grid is not None else None
        values = np.ascontiguousarray(row, dtype=np.float32)
        return Features(values, place, sample.valid_fraction, sample.filled_fraction, sample.notes)


def _framed(
    finished: Sequence[Features | RsEmbedError], fit: Fit, windows: NDArray[np.float32] | None
) -> list[Features | RsEmbedError]:
    """Add to each grid where its tokens lie in their windows, and these if there are any."""
    each = [None] * len(finished) if windows is None else windows.reshape(-1, fit.tile_count, *windows.shape[1:])
    pairs = zip(finished, each, strict=True)
    return [one if isinstance(one, RsEmbedError) else replace(one, fit=fit, windows=own) for one, own in pairs]


def _token_share(ready: Sequence[Sample], fit: Fit) -> NDArray[np.float32] | None:
    """Return the share of each token inside the item's own shape: (B, h, w); None where no shape confines it."""
    placed = [(one.outline, place_grid(one.grid, fit)) for one in ready if one.outline is not None and one.grid]
    return np.stack([coverage_of(outline, grid) for outline, grid in placed]) if placed else None


def _covered(one: Features | RsEmbedError, share: NDArray[np.float32] | None, *, grid: bool) -> Features | RsEmbedError:
    """Add the coverage to a result; cells of a grid outside the shape become NaN."""
    if share is None or isinstance(one, RsEmbedError):
        return one
    values = np.where(share > 0, one.values, np.float32(np.nan)) if grid else one.values
    return replace(one, values=values, coverage=share)


def _days(dates: tuple[dt.date, ...]) -> list[tuple[int, int, int]]:
    return [(day.year, day.month, day.day) for day in dates]
