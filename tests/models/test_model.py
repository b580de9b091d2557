import datetime as dt

import numpy as np
import pytest
import torch

from rs_embed_dask.errors import ModelError, ModelInputError, NoImageryError, SpecError
from rs_embed_dask.imagery.cube import Cube, Read
from rs_embed_dask.imagery.dates import Frames
from rs_embed_dask.imagery.grid import Window
from rs_embed_dask.inference.device import choose_device
from rs_embed_dask.inference.loading import load_model
from rs_embed_dask.preprocess.batch import Batch, Tokens
from rs_embed_dask.preprocess.samples import Sample
from rs_embed_dask.specs import InputPrep, OutputSpec
from rs_embed_dask.specs.fetch import FetchSpec
from tests.models.conftest import Mirror, cube, grid, mirror_card, months, ramps, scene

GRID = OutputSpec.grid()
PAIR = ("red", "nir")


def pair(values, **more):
    return {"s2": cube(values, bands=PAIR, **more)}


class TestItems:
    def test_an_item_that_fails_costs_no_other(self, mirror):
        good = pair(ramps(16, 16))
        empty = pair(np.full((1, 2, 16, 16), np.nan))
        wrong = {"s2": cube(ramps(16, 16), bands=("red", "green"))}
        results = mirror().embed_cubes([good, empty, wrong, {}, good])
        kinds = [type(result).__name__ for result in results]
        assert kinds == ["Features", "NoImageryError", "ModelInputError", "ModelInputError", "Features"]
        assert "no nir" in str(results[2])
        assert "s2 is not there" in str(results[3])
        assert np.array_equal(results[0].values, results[4].values)

    def test_items_of_other_shapes_share_a_call(self, mirror):
        sides = (16, 20, 16, 40, 20)
        images = [pair(ramps(side, side) + i) for i, side in enumerate(sides)]
        together = mirror().embed_cubes(images)
        alone = [mirror().embed_cubes([image])[0] for image in images]
        for one, other in zip(together, alone, strict=True):
            assert one.values == pytest.approx(other.values, rel=1e-6)

    def test_batches_are_bounded(self, mirror, monkeypatch):
        model = mirror()
        model.max_images = 3
        seen = []
        forward = model.encoder.forward
        monkeypatch.setattr(model.encoder, "forward", lambda batch: seen.append(len(batch)) or forward(batch))
        results = model.embed_cubes([pair(ramps(16, 16) + i) for i in range(7)])
        assert seen == [3, 3, 1]
        assert [round(float(r.values[0])) for r in results] == [800 + i for i in range(7)]
        seen.clear()
        model.embed_cubes([pair(ramps(32, 64))], GRID, InputPrep.tile())
        assert seen == [3, 3, 2]

    def test_batches_of_tiles_equal_one_batch(self, mirror):
        image = pair(scene(1, 2, 64))
        model = mirror()
        (whole,) = model.embed_cubes([image], GRID, InputPrep.tile())
        model.max_images = 5
        (parts,) = model.embed_cubes([image], GRID, InputPrep.tile())
        assert np.array_equal(whole.values, parts.values)

    def test_a_result_that_is_not_finite_is_an_error(self, registered):
        class Broken(Mirror):
            def forward(self, batch):
                tokens = super().forward(batch)
                tokens.patches[1] = torch.inf
                return tokens

        registered(mirror_card(), Broken)
        results = load_model("mirror", device="cpu").embed_cubes([pair(ramps(16, 16))] * 3)
        assert isinstance(results[1], ModelError)
        assert [type(r).__name__ for r in results] == ["Features", "ModelError", "Features"]

    def test_what_an_encoder_refuses_is_every_items_error(self, registered):
        class Needy(Mirror):
            def forward(self, batch):
                batch.need("lonlat")
                return super().forward(batch)

        registered(mirror_card(), Needy)
        model = load_model("mirror", device="cpu")
        with pytest.raises(ModelInputError, match="place: the model needs it"):
            model.embed(ramps(16, 16))
        assert model.embed(ramps(16, 16), place=(3.0, 51.0)).shape == (2,)


class TestPositions:
    def test_a_table_is_taken_from_each_window(self, mirror):
        table = np.arange(32.0).reshape(2, 4, 4)
        table -= table.mean((1, 2), keepdims=True)
        model, image = mirror(), scene(1, 2, 32)
        plain = model.embed(image, output=GRID, prep=InputPrep.tile()).data
        found = model.embed(image, output=OutputSpec.grid(positions=table), prep=InputPrep.tile()).data
        np.testing.assert_allclose(plain - found, np.tile(table, (1, 2, 2)), atol=1e-3)
        with pytest.raises(SpecError, match=r"PositionTable.window = 3: here it is 4"):
            model.embed(image, output=OutputSpec.grid(positions=np.zeros((2, 3, 3))))

    def test_nothing_is_measured_by_a_call(self, mirror):
        with pytest.raises(SpecError, match="neither measures positions nor opens a store"):
            mirror().embed(ramps(16, 16), output=OutputSpec.grid(positions="auto"))
        with pytest.raises(SpecError, match=r"rcf: positions .*it has none"):
            load_model("rcf", features=4).embed(
                np.ones((10, 16, 16)), output=OutputSpec.grid(positions=np.zeros((8, 2, 2)))
            )

    def test_windows_are_whole_where_they_are_asked_for(self, mirror):
        image = scene(1, 2, 32)
        asked = OutputSpec.grid(positions="auto")
        (part,) = mirror().embed_cubes([pair(image)], asked, InputPrep.tile(stride_px=12), crops=[Window(4, 4, 20, 20)])
        assert part.windows.shape == (4, 2, 4, 4)
        rows, columns = part.fit.places
        assert rows == columns == (0, 1, 1, 2, 3)
        starts = [(row + 4, column + 4) for row in (0, 4) for column in (0, 4)]
        for window, (row, column) in zip(part.windows, starts, strict=True):
            own = image[0, :, row : row + 16, column : column + 16].reshape(2, 4, 4, 4, 4).mean((2, 4))
            np.testing.assert_allclose(window, own, rtol=1e-5)
        assert mirror().embed_cubes([pair(image)], GRID)[0].windows is None


class TestGaps:
    def test_missing_pixels_take_the_mean_of_their_frame_and_band(self, mirror):
        image = ramps(16, 16)
        image[0, 0, :8] = np.nan
        (features,) = mirror().embed_cubes([pair(image)], GRID)
        assert features.values[0, :2] == pytest.approx(1200)
        assert features.values[1, 0] == pytest.approx([200, 600, 1000, 1400])
        assert features.filled_fraction == pytest.approx(0.25)
        assert features.valid_fraction.tolist() == pytest.approx([0.75])
        assert features.notes == ("25.0% of values filled",)

    def test_a_whole_image_has_nothing_to_tell(self, mirror):
        (features,) = mirror().embed_cubes([pair(ramps(16, 16, 2))])
        assert (features.notes, features.filled_fraction, features.valid_fraction.tolist()) == ((), 0, [1, 1])

    def test_empty_frames_are_left_out(self, mirror):
        image = np.concatenate([ramps(16, 16), ramps(16, 16) + 1000, ramps(16, 16) + 5000])
        image[1] = np.nan
        image[2, 1] = np.nan  # one band is enough
        (features,) = mirror().embed_cubes([pair(image)])
        assert features.values == pytest.approx([800, 800])
        assert features.notes == ("2 of 3 frames empty: left out",)
        assert features.valid_fraction.tolist() == pytest.approx([1, 0, 0.5])

    def test_dates_go_with_their_frames(self, mirror):
        image = ramps(16, 16, 3)
        image[0] = np.nan
        model = mirror()
        (fit,) = model.fits(Sample({"s2": image[1:]}))
        batch = model.prepare([Sample({"s2": image}, dates=tuple(span.midpoint for span in months(3)))])
        assert batch.dates.tolist() == [[[2022, 2, 15], [2022, 3, 16]]]
        assert batch.images["s2"].shape == (1, 2, 2, *fit.net_px)

    def test_the_card_says_how_much_a_frame_needs(self, mirror):
        image = ramps(16, 16, 2)
        image[1, :, :, :15] = np.nan
        assert "left out" in mirror(min_valid=0.1).embed_cubes([pair(image)])[0].notes[0]
        assert "filled" in mirror().embed_cubes([pair(image)])[0].notes[0]

    @pytest.mark.parametrize(("fill", "known"), [("card", 1200), (0.0, 600), (5000.0, 3100)])
    def test_the_request_may_say_what_fills(self, mirror, fill, known):
        image = ramps(16, 16)
        image[0, 0, :8] = np.nan
        read = Read(grid(16, 16), "sentinel-2-l2a", PAIR, months(1), FetchSpec(fill=fill))
        (features,) = mirror().embed_cubes([{"s2": Cube(image, np.ones((1, 16, 16), np.uint16), read)}])
        assert features.values[0] == pytest.approx(known)

    def test_nothing_may_be_filled(self, mirror):
        image = ramps(16, 16)
        image[0, 0, :4] = np.nan
        read = Read(grid(16, 16), "sentinel-2-l2a", PAIR, months(1), FetchSpec(fill="none"))
        (result,) = mirror().embed_cubes([{"s2": Cube(image, np.ones((1, 16, 16), np.uint16), read)}])
        assert isinstance(result, NoImageryError)
        assert "fill='none'" in str(result)

    def test_the_card_may_fill_with_zero(self, mirror):
        image = ramps(16, 16)
        image[0, 0, :8] = np.nan
        (features,) = mirror(fill="zero").embed_cubes([pair(image)])
        assert features.values[0] == pytest.approx(600)

    def test_what_counts_is_what_was_asked_for(self, mirror):
        from rs_embed_dask.imagery.grid import Window

        image = ramps(16, 16)
        image[..., 8:, :] = np.nan
        crops = [Window(0, 0, 8, 16), Window(8, 0, 8, 16)]
        inside, outside = mirror().embed_cubes([pair(image)] * 2, crops=crops)
        assert inside.valid_fraction.tolist() == [1]
        assert isinstance(outside, NoImageryError)


class TestSideInputs:
    """Items of one batch that differ in date, place and resolution."""

    places = ((3.0, 51.0), (-70.0, -33.0), (100.0, 0.0))

    def samples(self):
        days = (dt.date(2020, 1, 5), dt.date(2021, 6, 15), dt.date(2022, 12, 31))
        images = [ramps(16, 16) + i for i in range(3)]
        return [
            Sample({"s2": image}, dates=(day,), lonlat=place, resolution_m=size)
            for image, day, place, size in zip(images, days, self.places, (10.0, 20.0, 2.5), strict=True)
        ]

    def test_each_has_its_own(self, mirror):
        batch = mirror().prepare(self.samples())
        assert batch.dates.tolist() == [[[2020, 1, 5]], [[2021, 6, 15]], [[2022, 12, 31]]]
        assert batch.lonlat.tolist() == [list(place) for place in self.places]
        assert batch.gsd_m.tolist() == [10, 20, 2.5]

    def test_each_of_its_tiles_has_them_too(self, mirror):
        images = [ramps(32, 16) + i for i in range(2)]
        samples = [Sample({"s2": x}, lonlat=self.places[i], resolution_m=10.0 * (i + 1)) for i, x in enumerate(images)]
        batch = mirror().prepare(samples, InputPrep.tile())
        assert batch.gsd_m.tolist() == [10, 10, 20, 20]
        assert batch.lonlat[:, 0].tolist() == [3, 3, -70, -70]
        assert batch.images["s2"][:, 0, 0, 0, 0].tolist() == [50, 1650, 51, 1651]

    def test_the_ground_size_follows_a_resize(self, mirror):
        batch = mirror().prepare([Sample({"s2": ramps(24, 24)}, resolution_m=10.0)])
        assert batch.gsd_m.tolist() == [15]

    def test_one_without_a_place_leaves_all_without(self, mirror):
        first, *rest = self.samples()
        batch = mirror().prepare([Sample(first.pixels, resolution_m=10.0), *rest])
        assert batch.lonlat is None
        assert batch.dates is None

    def test_a_part_of_a_batch_keeps_them(self, mirror):
        part = mirror().prepare(self.samples()).part(1, 2)
        assert len(part) == 1
        assert part.gsd_m.tolist() == [20]
        assert part.dates.tolist() == [[[2021, 6, 15]]]


def test_pooling(mirror):
    image = pair(ramps(16, 16))
    values = {name: mirror().embed_cubes([image], OutputSpec.pooled(name))[0].values for name in ("mean", "max", "cls")}
    assert values["mean"] == pytest.approx([800, 800])
    assert values["max"] == pytest.approx([1400, 1400])
    assert values["cls"] == pytest.approx([800, 800])


def test_a_pooling_that_the_encoder_lacks(registered):
    class Bare(Mirror):
        def forward(self, batch):
            return Tokens(super().forward(batch).patches)

    registered(mirror_card(), Bare)
    model = load_model("mirror", device="cpu")
    with pytest.raises(ModelError, match="no class token"):
        model.embed(ramps(16, 16), output=OutputSpec.pooled("cls"))
    with pytest.raises(SpecError, match="galileo: pooling = 'cls'"):
        load_model("galileo", weights="random").embed(scene(), output=OutputSpec.pooled("cls"))


def test_one_frame_is_asked_for_where_one_is_taken():
    batch = Batch({"rgb": torch.zeros(1, 2, 3, 4, 4)})
    with pytest.raises(ModelInputError, match=r"frames = 2.*composite them"):
        _ = batch.image


def test_devices(monkeypatch):
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(SpecError, match=r"ModelSpec.device = 'cuda:2': this machine has 2 cuda devices"):
        choose_device("cuda:2")


def test_bfloat16_is_close(galileo):
    full, half = galileo(), galileo(dtype="bfloat16")
    image, days = scene(2), ["2022-03-01", "2022-07-01"]
    one, other = (np.asarray(model.embed(image, dates=days).data, np.float64) for model in (full, half))
    assert half.dtype == torch.bfloat16
    assert not np.array_equal(one, other)
    assert one @ other / np.linalg.norm(one) / np.linalg.norm(other) > 0.999


def test_frames_of_modalities_must_agree(galileo):
    model = galileo(modality="s2+s1")
    radar = np.full((2, 2, 32, 32), -12.0)
    with pytest.raises(ModelInputError, match="the modalities do not agree"):
        model.embed({"s2": scene(3), "s1": radar}, dates=["2022-01-01"] * 3)


def test_a_cube_in_another_unit_is_refused(mirror):
    model = mirror(unit="kelvin")
    (result,) = model.embed_cubes([pair(ramps(16, 16))])
    assert isinstance(result, ModelInputError)
    assert "the model takes kelvin" in str(result)


def test_frames_are_cut_as_the_card_says():
    assert mirror_card(frames=Frames("fixed", n=3)).inputs[0].frames.n == 3


def test_the_fit_of_a_spec_is_that_of_its_arrays():
    pixels = np.random.default_rng(5).uniform(200, 3000, (10, 32, 32)).astype("float32")
    tiles, options = InputPrep.tile(tile_px=16), {"weights": "random", "patch_px": 4, "modality": "s2"}
    own, plain = load_model("galileo:nano", prep=tiles, **options), load_model("galileo:nano", **options)
    expected = plain.embed(pixels, prep=tiles, dates=["2022-06-01"], place=(4.5, 50.7))
    embedded = own.embed(pixels, dates=["2022-06-01"], place=(4.5, 50.7))
    np.testing.assert_array_equal(embedded.data, expected.data)
    (source,) = embedded.meta["inputs"].values()
    assert (embedded.meta["prep"], source["tiles"], source["input_px"]) == ("tile", 4, [16, 16])
    assert (source["frames"], source["unit"]) == (1, "reflectance_e4")
    assert embedded.meta["options"]["patch_px"] == 4
    resized = own.embed(pixels, prep=InputPrep.resize(), dates=["2022-06-01"], place=(4.5, 50.7))
    assert not np.allclose(resized.data, embedded.data)
