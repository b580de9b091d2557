"""The cache: whole files or none, a size, the longest unused first, and one maker at a time."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from rs_embed_dask.errors import ProviderError, SpecError, TransientError
from rs_embed_dask.products.mirror import GIB, Cache, download
from rs_embed_dask.providers.http import Access
from rs_embed_dask.providers.retry import RetryPolicy
from tests.products import mirrors

KIB = 1024
ACCESS = Access(retry=RetryPolicy(attempts=2, first_wait_s=0.01))


def cache_of(tmp_path, kib=10.0):
    return Cache(str(tmp_path / "cache"), kib * KIB / GIB)


def put(cache, name, kib=4):
    return cache.use(name, lambda path: path.write_bytes(b"x" * kib * KIB), lambda path: path.stat().st_size)


def names(cache):
    return {path.name for path in cache.root.rglob("*") if path.is_file() and not path.name.startswith(".")}


def age(cache, name, seconds):
    old = time.time() - seconds
    os.utime(cache.root / name, (old, old))


def test_what_was_not_used_for_longest_goes_first(tmp_path):
    cache = cache_of(tmp_path)
    for number, name in enumerate("ab"):
        put(cache, name)
        age(cache, name, 100 - number)
    put(cache, "a")  # used again
    put(cache, "c")
    assert names(cache) == {"a", "c"}


def test_a_file_in_use_stays(tmp_path):
    cache = cache_of(tmp_path)
    put(cache, "a")

    def meanwhile(path):
        age(cache, "a", 1000)
        put(cache, "b")
        put(cache, "c")
        return path.is_file()

    assert cache.use("a", lambda path: path.write_bytes(b""), meanwhile)
    assert "a" in names(cache)


def test_a_file_that_fails_halfway_leaves_nothing(tmp_path):
    cache = cache_of(tmp_path)

    def fail(path):
        path.write_bytes(b"half")
        raise ProviderError("file", reason="the line was cut", fix="again")

    with pytest.raises(ProviderError, match="cut"):
        cache.use("a", fail, Path.read_bytes)
    assert not [path for path in cache.root.rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert put(cache, "a") == 4 * KIB


def test_what_a_dead_process_left_is_cleared_away(tmp_path):
    cache = cache_of(tmp_path)
    put(cache, "a")
    for name, age_s in ((".b.1.2.part", 90_000), (".c.1.2.part", 10)):
        (cache.root / name).write_bytes(b"x")
        age(cache, name, age_s)
    put(cache, "d")
    assert not (cache.root / ".b.1.2.part").exists()
    assert (cache.root / ".c.1.2.part").exists()


def test_a_file_of_another_size_is_made_anew(tmp_path):
    cache = cache_of(tmp_path)
    put(cache, "a", kib=1)
    made = cache.use("a", lambda path: path.write_bytes(b"y" * 2048), Path.read_bytes, size=2048)
    assert made == b"y" * 2048


def test_many_threads_make_it_once(tmp_path):
    cache, made = cache_of(tmp_path), []

    def make(path):
        made.append(path)
        time.sleep(0.05)
        path.write_bytes(b"z")

    threads = [threading.Thread(target=cache.use, args=("a", make, Path.read_bytes)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1


def test_folders_that_depend_on_the_current_one_are_refused():
    with pytest.raises(SpecError, match="depends on the current folder"):
        Cache("tiles")
    with pytest.raises(SpecError, match="nothing would fit"):
        Cache("", 0)
    assert Cache().root.is_absolute()
    assert Cache("~/x").root == Path.home() / "x"


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ProviderError, match="option cache"):
        put(Cache(str(tmp_path / "file" / "inside")), "a")


@pytest.fixture
def server(tmp_path):
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a.npy").write_bytes(b"x" * 3000)
    with mirrors.Mirror(tmp_path / "files") as running:
        yield running


def test_a_download_larger_than_the_cache(server, tmp_path):
    cache = cache_of(tmp_path, kib=2)
    with pytest.raises(ProviderError, match="raise cache_gb"):
        download(f"{server.url}/a.npy", tmp_path / "a", access=ACCESS, cache=cache)


def test_a_download_that_keeps_failing(server, tmp_path):
    server.fault = lambda path: 503
    with pytest.raises(TransientError, match="503"):
        download(f"{server.url}/a.npy", tmp_path / "a", access=ACCESS, cache=cache_of(tmp_path))


def test_a_download_of_another_file(server, tmp_path):
    with pytest.raises(ProviderError, match="sha256"):
        download(f"{server.url}/a.npy", tmp_path / "a", access=ACCESS, cache=cache_of(tmp_path), sha256="0" * 64)
