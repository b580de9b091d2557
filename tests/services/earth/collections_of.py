"""The functions over collections, elements, filters, dates, lists and numbers that the emulator knows."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import replace

from tests.services.earth.values import Collection, EarthError, Image, Projection, Rectangle, Reducer, Span

FUNCTIONS = {}


def function(*names):
    def known(body):
        FUNCTIONS.update(dict.fromkeys(names, body))
        return body

    return known


def millis(value):
    if isinstance(value, int | float):
        return round(value)
    when = dt.datetime.fromisoformat(str(value))
    return round((when if when.tzinfo else when.replace(tzinfo=dt.UTC)).timestamp() * 1000)


# ---------------------------------------------------------- geometries
@function("Projection")
def projection(crs, transform=None):
    return crs if transform is None else Projection(crs, tuple(transform))


@function("GeometryConstructors.Rectangle")
def rectangle(coordinates, crs="EPSG:4326", geodesic=None):
    if geodesic:
        raise EarthError("emulator: geodesic edges are not emulated")
    flat = [number for each in coordinates for number in (each if isinstance(each, list) else [each])]
    return Rectangle(crs, (min(flat[::2]), min(flat[1::2]), max(flat[::2]), max(flat[1::2])))


@function("GeometryConstructors.MultiPolygon")
def multipolygon(coordinates, geodesic=None, crs="EPSG:4326"):
    points = [point for polygon in coordinates for ring in polygon for point in ring]
    xs, ys = [point[0] for point in points], [point[1] for point in points]
    return Rectangle(crs, (min(xs), min(ys), max(xs), max(ys)))


@function("Feature")
def feature(geometry):
    return geometry


# ---------------------------------------------------------- filters
def compared(test):
    def made(leftField=None, rightValue=None, rightField=None, leftValue=None):
        if leftField is not None and rightField is not None:
            return lambda one, other: test(one.properties.get(leftField), other.properties.get(rightField))
        return lambda image: test(image.properties.get(leftField), rightValue)

    return made


def known(test):
    """A property that is not there fits nothing."""
    return compared(lambda one, other: one is not None and other is not None and test(one, other))


FUNCTIONS["Filter.equals"] = known(lambda one, other: one == other)
FUNCTIONS["Filter.lessThanOrEquals"] = known(lambda one, other: one <= other)
FUNCTIONS["Filter.greaterThan"] = known(lambda one, other: one > other)
FUNCTIONS["Filter.listContains"] = known(lambda one, other: other in one)


@function("Filter.not")
def negated(filter):
    return lambda image: not filter(image)


@function("Filter.intersects")
def intersects(leftField, rightValue):
    if leftField != ".all" or not isinstance(rightValue, Rectangle):
        raise EarthError("emulator: only filterBounds is emulated")
    return lambda image: image.scene is None or image.scene.touches(rightValue.crs, rightValue.bounds)


@function("Date")
def date(value):
    return millis(value)


@function("Date.format")
def formatted(date, format):
    if format != "YYYY-MM-dd":
        raise EarthError(f"emulator: the date format {format} is not emulated")
    return dt.datetime.fromtimestamp(date / 1000, dt.UTC).strftime("%Y-%m-%d")


@function("Date.advance")
def advanced(date, delta, unit, timeZone=None):
    when = dt.datetime.fromtimestamp(date / 1000, dt.UTC)
    if unit != "month" or delta != 1:
        raise EarthError(f"emulator: to advance by {delta} {unit} is not emulated")
    return millis(when.replace(year=when.year + when.month // 12, month=when.month % 12 + 1).isoformat())


@function("Date.difference")
def difference(date, start, unit):
    if unit != "day":
        raise EarthError(f"emulator: differences in {unit} are not emulated")
    return (date - start) / 86_400_000


@function("DateRange")
def date_range(start, end):
    return Span(millis(start), millis(end))


@function("Filter.dateRangeContains")
def within(leftValue, rightField):
    return lambda image: leftValue.start_ms <= image.properties.get(rightField, -1) < leftValue.end_ms


# ---------------------------------------------------------- collections
@function("ImageCollection.load")
def load(id, context=None):
    return context.collection(id)


@function("Image.load")
def load_image(id, version=None, context=None):
    return context.collection(id).images[0]


@function("ImageCollection.fromImages")
def from_images(images):
    named = (
        image if "system:index" in image.properties else image.having(**{"system:index": str(number)})
        for number, image in enumerate(images)
    )
    return Collection(tuple(named))


@function("Collection.filter")
def filtered(collection, filter):
    return Collection(tuple(image for image in collection.images if filter(image)))


@function("Collection.map")
def mapped(collection, baseAlgorithm):
    return Collection(tuple(replace(baseAlgorithm(image), scene=image.scene) for image in collection.images))


@function("ImageCollection.merge")
def merged(collection1, collection2):
    return Collection(
        tuple(
            image.having(**{"system:index": f"{number}_{image.properties.get('system:index')}"})
            for number, each in ((1, collection1), (2, collection2))
            for image in each.images
        )
    )


@function("Collection.limit")
def limited(collection, limit=None, key=None, ascending=True):
    images = list(collection.images)
    if key is not None:
        images.sort(key=lambda image: image.properties.get(key, math.inf), reverse=not ascending)
    return Collection(tuple(images if limit is None else images[:limit]))


@function("Collection.distinct")
def distinct(collection, properties):
    first = {}
    for image in collection.images:
        first.setdefault(tuple(image.properties.get(name) for name in properties), image)
    return Collection(tuple(first.values()))


@function("Join.saveAll")
def save_all(matchesKey, ordering=None, ascending=True):
    return matchesKey, ordering, ascending


@function("Join.apply")
def joined(join, primary, secondary, condition):
    key, ordering, ascending = join
    found = []
    for image in primary.images:
        matches = [other for other in secondary.images if condition(image, other)]
        if ordering is not None:
            matches.sort(key=lambda other: other.properties[ordering], reverse=not ascending)
        if matches:
            found.append(image.having(**{key: matches}))
    return Collection(tuple(found))


@function("Collection.size")
def size(collection):
    return len(collection.images)


@function("Collection.first")
def first(collection):
    return collection.images[0] if collection.images else None


@function("Collection.toList")
def to_list(collection, count, offset=0):
    return list(collection.images)[int(offset) : int(offset) + int(count)]


@function("Collection.iterate")
def iterated(collection, function, first=None):
    for image in collection.images if isinstance(collection, Collection) else collection:
        first = function(image, first)
    return first


@function("Collection.reduceColumns")
def reduced(collection, reducer, selectors):
    if reducer.name != "toList":
        raise EarthError(f"emulator: reduceColumns with {reducer.name} is not emulated")
    rows = [[image.properties.get(name) for name in selectors] for image in collection.images]
    if reducer.repeated:
        return {"list": [[row[k] for row in rows if row[k] is not None] for k in range(len(selectors))]}
    return {"list": [row for row in rows if None not in row]}


@function("Reducer.toList")
def reducer_to_list(tupleSize=1, numOptional=None):
    return Reducer("toList", tupleSize)


@function("Reducer.repeat")
def repeated(reducer, count):
    return replace(reducer, count=count, repeated=True)


@function("Reducer.min")
def reducer_min():
    return Reducer("min")


# ---------------------------------------------------------- elements, lists, texts and numbers
@function("Element.get")
def element_get(object, property):
    return object.properties.get(property)


@function("Element.set")
def element_set(object, key, value):
    return object.having(**{key: value})


@function("Element.toDictionary")
def to_dictionary(element, properties=None):
    held = {} if isinstance(element, Collection) else element.properties
    return {key: value for key, value in held.items() if properties is None or key in properties}


@function("Dictionary.get")
def dictionary_get(dictionary, key):
    return dictionary[key]


@function("List.slice")
def sliced(list, start, end=None, step=None):
    return list[int(start) : None if end is None else int(end) : None if step is None else int(step)]


@function("List.get")
def list_get(list, index):
    return list[int(index)]


@function("String")
def string(input):
    if not isinstance(input, str):
        raise EarthError(f"String: Parameter 'input' is required to be a String, got {type(input).__name__}.")
    return input


@function("String.cat")
def cat(string1, string2):
    return string1 + string2


for name, operation in {
    "add": lambda left, right: left + right,
    "subtract": lambda left, right: left - right,
    "divide": lambda left, right: left / right,
}.items():
    FUNCTIONS[f"Number.{name}"] = operation
    # inspected by name, so each has its own signature already


@function("Number.floor")
def floor(input):
    return math.floor(input)


@function("Image.bandNames")
def band_names(image: Image):
    return [band.name for band in image.bands]
