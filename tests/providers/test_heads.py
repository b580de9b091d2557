"""Heads of remote files that a later process on this machine finds: fewer requests, never other pixels."""

from __future__ import annotations

import os

import numpy as np
import pytest

from rs_embed_dask.providers import geotiff
from rs_embed_dask.providers.geotiff import open_geotiff
from rs_embed_dask.providers.heads import HeadFolder, user_folder
from rs_embed_dask.providers.http import Access, PlanetaryComputerTokens
from rs_embed_dask.providers.kept import Piece
from rs_embed_dask.providers.retry import RetryPolicy
from tests.services.fixtures import forget_heads
from tests.services.scenes import layer, s2_scene

URL = "https://data.example/a.tif"
ACCESS = Access(PlanetaryComputerTokens(), RetryPolicy(attempts=3, first_wait_s=0.01))
NOISE = np.random.default_rng(1).integers(1, 60_000, (600, 600))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    return HeadFolder(3)


def kept_files():
    return sorted((user_folder() / "heads").iterdir())


def test_a_head_is_found_again_by_the_next_process(folder):
    folder.put(f"{URL}#asset%20B04", Piece(0, b"II*", 77_000))
    assert HeadFolder().get(URL) == Piece(0, b"II*", 77_000)
    folder.drop(URL)
    assert folder.get(URL) is None


def test_services_of_this_machine_and_files_are_not_kept(folder):
    for href in ("http://127.0.0.1:8080/a.tif", "http://localhost/a.tif", "file:///data/a.tif"):
        folder.put(href, Piece(0, b"II*", 77_000))
        assert folder.get(href) is None
    assert not user_folder().exists()


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-1], lambda data: data[:3], lambda data: b"", lambda data: data + b"x"]
)
def test_a_damaged_head_counts_as_none(folder, damage):
    folder.put(URL, Piece(0, b"II*", 77_000))
    (path,) = kept_files()
    path.write_bytes(damage(path.read_bytes()))
    assert folder.get(URL) is None


def test_no_more_than_so_many_are_kept_the_newest(folder):
    for number in range(8):
        folder.put(f"{URL}?{number}", Piece(0, b"II*", number))
        newest = max(kept_files(), key=lambda path: path.stat().st_mtime_ns)
        os.utime(newest, (1e9 + number, 1e9 + number))
    assert 3 <= len(kept_files()) < 2 * 3  # it looks after every third
    assert folder.get(f"{URL}?7").size == 7
    assert folder.get(f"{URL}?0") is None


def test_a_file_that_goes_while_ages_are_looked_at_leaves_nothing_open(folder):
    folder.put(URL, Piece(0, b"II*", 1))
    for number in range(8):
        (user_folder() / "heads" / f"gone{number}").symlink_to("nowhere")  # as a name whose file was just removed
    for number in range(4):
        folder.put(f"{URL}?{number}", Piece(0, b"II*", number))  # warns of nothing
    assert folder.get(f"{URL}?3").size == 3


def test_a_folder_that_cannot_be_written_to_keeps_nothing(tmp_path, monkeypatch):
    (tmp_path / "home").write_text("a file in its place")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    HeadFolder().put(URL, Piece(0, b"II*", 77_000))
    assert HeadFolder().get(URL) is None


def b04(service):
    return service.api.items[0]["assets"]["B04"]["href"]


def read(service):
    return open_geotiff(b04(service), access=ACCESS).read(1, (550, 555), (0, 9), access=ACCESS)


def test_a_later_process_reads_a_large_file_with_one_request_less(azure):
    service = azure(s2_scene("S2A_1", "2022-06-01T10:00:00", bands=(), scl=None, layers=[layer("B04", NOISE)]))
    np.testing.assert_array_equal(read(service), NOISE[550:555, :9])
    assert service.counts()["range"] == 2
    geotiff._HEADS.clear()
    np.testing.assert_array_equal(read(service), NOISE[550:555, :9])
    assert service.counts()["range"] == 3


def test_a_file_that_has_changed_meanwhile_is_opened_anew(azure):
    service = azure(s2_scene("S2A_1", "2022-06-01T10:00:00", bands=(), scl=None, layers=[layer("B04", NOISE)]))
    read(service)
    other = azure(s2_scene("S2A_1", "2022-06-01T10:00:00", bands=(), scl=None, layers=[layer("B04", NOISE[::-1] // 2)]))
    geotiff._FOLDER.put(b04(other), open_head(service))
    with pytest.raises(geotiff.TransientError, match="changed while it was read"):
        read(other)
    np.testing.assert_array_equal(read(other), NOISE[::-1][550:555, :9] // 2)  # as the engine's next attempt does


def open_head(service):
    (path,) = service.root.rglob("B04.tif")
    data = path.read_bytes()
    return Piece(0, data[: geotiff.HEAD_BYTES], len(data))


def test_the_head_of_a_small_file_holds_its_pixels_and_is_not_kept(azure):
    service = azure(s2_scene("S2A_1", "2022-06-01T10:00:00", dn=1234))
    forget_heads()
    assert np.unique(open_geotiff(b04(service), access=ACCESS).read(1, (0, 5), (0, 5), access=ACCESS)) == [1234]
    assert not (user_folder() / "heads").exists()
