"""The functions over images that the emulator knows. Pixels are worked out when a request wants them."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from tests.services.earth.collections_of import FUNCTIONS, function
from tests.services.earth.values import Band, Collection, EarthError, Image, union

BOOL = np.dtype("|u1")


def as_image(value, context):
    """Take an image, or make one of a number or of a list of them."""
    if isinstance(value, Image):
        return value
    numbers = value if isinstance(value, list) else [value]
    if not numbers or not all(isinstance(number, int | float) for number in numbers):
        raise EarthError(f"Image.constant: Parameter 'value' is no number: {value!r}.")
    return Image(tuple(constant_band(f"constant{k or ''}", n, context) for k, n in enumerate(numbers)))


def constant_band(name, number, context):
    dtype = "<f8" if isinstance(number, float) else "<i4" if abs(number) < 2**31 else "<i8"
    return Band(name, dtype, lambda: (np.full(context.place.shape, number), np.ones(context.place.shape, bool)))


def pairs(one, other):
    """One band goes with all of the other image; else bands go by position."""
    if len(other.bands) == 1:
        return [(band, other.bands[0]) for band in one.bands]
    if len(one.bands) == 1:
        return [(one.bands[0], band) for band in other.bands]
    if len(one.bands) != len(other.bands):
        raise EarthError(f"Image: {len(one.bands)} bands do not match {len(other.bands)}.")
    return list(zip(one.bands, other.bands, strict=True))


# ---------------------------------------------------------- bands
@function("Image.constant")
def constant(value, context=None):
    return as_image(value, context)


@function("Image.select")
def select(input, bandSelectors, newNames=None):
    chosen = []
    for selector in bandSelectors if isinstance(bandSelectors, list) else [bandSelectors]:
        if isinstance(selector, int):
            chosen.append(input.bands[selector])
            continue
        exact = [band for band in input.bands if band.name == selector]
        chosen += exact or [b for b in input.bands if re.fullmatch(selector, b.name)] or [input.band(selector)]
    names = newNames or [band.name for band in chosen]
    return replace(input, bands=tuple(band.named(n) for band, n in zip(chosen, names, strict=True)))


@function("Image.rename")
def rename(input, names):
    listed = names if isinstance(names, list) else [names]
    if len(listed) != len(input.bands):
        raise EarthError(f"Image.rename: Can't rename {len(input.bands)} bands to {len(listed)} names.")
    return replace(input, bands=tuple(band.named(n) for band, n in zip(input.bands, listed, strict=True)))


@function("Image.addBands")
def add_bands(dstImg, srcImg, names=None, overwrite=False):
    if overwrite:
        raise EarthError("emulator: overwrite of addBands is not emulated")
    taken = list(dstImg.bands)
    for band in srcImg.bands if names is None else [srcImg.band(name) for name in names]:
        name, number = band.name, 1
        while name in {each.name for each in taken}:
            name, number = f"{band.name}_{number}", number + 1
        taken.append(band.named(name))
    return replace(dstImg, bands=tuple(taken))


@function("Image.toFloat")
def to_float(value, context=None):
    image = as_image(value, context)

    def cast(band):
        return Band(band.name, "<f4", lambda: (band.pixels[0].astype("<f4"), band.pixels[1]))

    return replace(image, bands=tuple(cast(band) for band in image.bands))


@function("Image.linkCollection")
def link(input, imageCollection, linkedBands, context=None):
    index = input.properties["system:index"]
    match = next((i for i in imageCollection.images if i.properties["system:index"] == index), None)
    if match is None:
        nothing = (np.zeros(context.place.shape), np.zeros(context.place.shape, bool))
        extra = tuple(Band(name, "<f4", lambda: nothing) for name in linkedBands)
    else:
        extra = tuple(match.band(name) for name in linkedBands)
    return replace(input, bands=input.bands + extra)


# ---------------------------------------------------------- masks
@function("Image.mask")
def mask_of(image, mask=None, context=None):
    """Show the mask; or, as of ``ee.Image()``, replace it."""
    image = as_image(image, context)
    if mask is not None:
        return update_mask(image, mask, context)

    def shown(band):
        return Band(band.name, BOOL, lambda: (band.pixels[1].astype(BOOL), np.ones(band.pixels[1].shape, bool)))

    return replace(image, bands=tuple(shown(band) for band in image.bands))


@function("Image.updateMask")
def update_mask(image, mask, context=None):
    mask = as_image(mask, context)
    if len(mask.bands) not in {1, len(image.bands)}:
        raise EarthError("Image.updateMask: the mask needs one band, or one for each of the image.")

    def masked(band, by):
        def make():
            (values, valid), (keep, known) = band.pixels, by.pixels
            return values, valid & known & (keep != 0)

        return Band(band.name, band.dtype, make)

    return replace(image, bands=tuple(masked(band, by) for band, by in pairs(image, mask)))


@function("Image.clip")
def clip(input, geometry, context=None):
    if geometry.crs != context.place.crs:
        raise EarthError("emulator: a clip in another projection than the request's is not emulated")
    x, y = context.place.centres
    left, bottom, right, top = geometry.bounds
    inside = (x > left) & (x < right) & (y > bottom) & (y < top)

    def clipped(band):
        return Band(band.name, band.dtype, lambda: (band.pixels[0], band.pixels[1] & inside))

    return replace(input, bands=tuple(clipped(band) for band in input.bands))


@function("Image.unmask")
def unmask(input, value=0, sameFootprint=True, context=None):
    if sameFootprint:
        raise EarthError("emulator: unmask within the footprint is not emulated")
    image, fill = as_image(input, context), as_image(value, context)

    def filled(band, by):
        def make():
            values, valid = band.pixels
            return np.where(valid, values, by.pixels[0]), valid | by.pixels[1]

        return Band(band.name, union(band.dtype, by.dtype), make)

    return replace(image, bands=tuple(filled(band, by) for band, by in pairs(image, fill)))


# ---------------------------------------------------------- arithmetic
def binary(operation, dtype):
    def worked(image1, image2, context=None):
        one, other = as_image(image1, context), as_image(image2, context)

        def made(a, b, name):
            def make():
                with np.errstate(all="ignore"):
                    return operation(a.pixels[0], b.pixels[0]), a.pixels[1] & b.pixels[1]

            return Band(name, dtype or union(a.dtype, b.dtype), make)

        named = one if len(one.bands) >= len(other.bands) else other
        bands = tuple(made(a, b, n.name) for (a, b), n in zip(pairs(one, other), named.bands, strict=True))
        return replace(one if one.properties else other, bands=bands)

    return worked


def whole(operation):
    return lambda a, b: operation(np.asarray(a).astype(np.int64), np.asarray(b).astype(np.int64))


for name, operation, dtype in (
    ("add", np.add, None),
    ("subtract", np.subtract, None),
    ("multiply", np.multiply, None),
    ("divide", np.true_divide, "<f8"),
    ("eq", np.equal, BOOL),
    ("neq", np.not_equal, BOOL),
    ("gt", np.greater, BOOL),
    ("gte", np.greater_equal, BOOL),
    ("lt", np.less, BOOL),
    ("lte", np.less_equal, BOOL),
    ("and", lambda a, b: (a != 0) & (b != 0), BOOL),
    ("bitwiseAnd", whole(np.bitwise_and), "<i4"),
    ("rightShift", whole(np.right_shift), "<i4"),
):
    FUNCTIONS[f"Image.{name}"] = binary(operation, dtype)


@function("Image.reduce")
def reduce_bands(image, reducer):
    if reducer.name != "min":
        raise EarthError(f"emulator: Image.reduce with {reducer.name} is not emulated")
    dtype = image.bands[0].dtype

    def make():
        values, valid = stacked(image.bands)
        return np.where(valid, values, np.inf).min(0), valid.any(0)

    return replace(image, bands=(Band("min", dtype, make),))


@function("Terrain.slope")
def slope(input, context=None):
    """Degrees, by central differences of the four neighbours on the pixels of the request."""
    (band,) = input.bands
    step = abs(context.place.transform[0])

    def make():
        (west, a), (east, b), (north, c), (south, d) = (
            band.beside(rows, columns) for rows, columns in ((0, -1), (0, 1), (-1, 0), (1, 0))
        )
        rise = np.hypot((east - west.astype(float)) / (2 * step), (south - north.astype(float)) / (2 * step))
        return np.degrees(np.arctan(rise)), a & b & c & d

    return replace(input, bands=(Band("slope", "<f4", make),))


# ---------------------------------------------------------- composites
def stacked(bands):
    found = [band.pixels for band in bands]
    return np.stack([values.astype(np.float64) for values, _ in found]), np.stack([valid for _, valid in found])


def middle(values, valid):
    count = valid.sum(0)
    ranked = np.sort(np.where(valid, values, np.inf), axis=0)
    low = np.take_along_axis(ranked, np.maximum((count - 1) // 2, 0)[None], 0)[0]
    high = np.take_along_axis(ranked, np.minimum(count // 2, len(values) - 1)[None], 0)[0]
    with np.errstate(invalid="ignore"):
        return np.where(count > 0, (low + high) / 2, 0), count > 0


def on_top(values, valid):
    made, seen = np.zeros(values.shape[1:]), np.zeros(values.shape[1:], bool)
    for each, known in zip(values, valid, strict=True):
        made, seen = np.where(known, each, made), seen | known
    return made, seen


COMPOSITES = {
    "reduce.median": (middle, "<f8"),
    "ImageCollection.mosaic": (on_top, None),
    "reduce.count": (lambda values, valid: (valid.sum(0), np.ones(valid.shape[1:], bool)), "<i4"),
    "reduce.min": (lambda values, valid: (np.where(valid, values, np.inf).min(0), valid.any(0)), None),
    "reduce.max": (lambda values, valid: (np.where(valid, values, -np.inf).max(0), valid.any(0)), None),
}


def composite(how, dtype):
    def made(collection: Collection):
        names = dict.fromkeys(band.name for image in collection.images for band in image.bands)

        def band(name):
            parts = [b for image in collection.images for b in image.bands if b.name == name]
            kind = parts[0].dtype
            for part in parts[1:]:
                kind = union(kind, part.dtype)
            own = dtype if dtype is not None and (kind.kind != "f" or how is not middle) else kind
            return Band(name, own, lambda: how(*stacked(parts)))

        return Image(tuple(band(name) for name in names))

    return made


for name, (how, dtype) in COMPOSITES.items():
    FUNCTIONS[name] = composite(how, dtype)
