"""Files are flushed before they take their names, and what killed writes left goes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from zarr.storage import LocalStore

from rs_embed_dask.errors import StoreError
from rs_embed_dask.store import Store
from rs_embed_dask.store.durable import leftovers
from tests.store.samples import POOLED, fill_store, make_result, make_store


@pytest.fixture
def calls(monkeypatch):
    """What is flushed and renamed, in order: ('flush' or 'name', path)."""
    done = []
    flush, name = os.fsync, Path.replace

    def fsync(descriptor):
        done.append(("flush", str(Path(f"/proc/self/fd/{descriptor}").readlink())))
        flush(descriptor)

    def replace(self, target):
        done.append(("name", str(target)))
        return name(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    return done


def test_all_data_of_a_chunk_are_flushed_before_its_status_has_a_name(tmp_path, calls):
    store = make_store(tmp_path / "s", 4, models=[POOLED])
    calls.clear()
    store.write_chunk(0, "galileo", make_result(store, POOLED, 0))
    names = [path for kind, path in calls if kind == "name"]
    assert names[-1] == str(tmp_path / "s/galileo/status/c/0")
    assert len(names) == len(POOLED.fields)
    for name in names:
        place = calls.index(("name", name))
        kind, partial = calls[place - 1]
        assert kind == "flush"
        assert partial.startswith(name + ".")
        assert calls[place + 1] == ("flush", str(Path(name).parent))


def test_a_new_folder_is_flushed_into_the_one_above(tmp_path, calls):
    store = make_store(tmp_path / "s", 4, models=[POOLED])
    calls.clear()
    store.write_chunk(0, "galileo", make_result(store, POOLED, 0))
    made = tmp_path / "s/galileo/embedding/c"
    flushed = [path for kind, path in calls if kind == "flush"]
    order = [flushed.index(str(path)) for path in (made.parent, made, made / "0")]
    assert order == sorted(order)


def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch):
    store = make_store(tmp_path / "s", 4, models=[POOLED])

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="No space left"):
        store.write_chunk(0, "galileo", make_result(store, POOLED, 0))
    assert not list((tmp_path / "s").rglob("*.partial"))


def test_what_killed_writes_left_goes_when_the_store_is_opened_for_writing(tmp_path):
    fill_store(make_store(tmp_path / "s", 4, models=[POOLED]))
    left = [tmp_path / "s/zarr.12.partial", tmp_path / "s/galileo/n_obs/c/0.34.partial"]
    for file in left:
        file.write_text("half")
    Store.open(tmp_path / "s")
    assert all(file.exists() for file in left), "a reader changes nothing"
    Store.open(tmp_path / "s", "r+")
    assert not any(file.exists() for file in left)


HALF = """
import os, sys
from pathlib import Path
from rs_embed_dask.store import Location, leased
Path.hardlink_to = lambda *_: os._exit(9)
leased(Location.of(sys.argv[1])).__enter__()
"""


def test_what_a_killed_run_left_of_its_lease_goes_too(tmp_path):
    make_store(tmp_path / "s", 4, models=[POOLED])
    assert subprocess.run([sys.executable, "-c", HALF, str(tmp_path / "s")], check=False).returncode == 9
    (left,) = (tmp_path / "s/.lease").rglob("*.partial")
    Store.open(tmp_path / "s")
    assert left.exists()
    Store.open(tmp_path / "s", "r+")
    assert not left.exists()


WRITER = """
import sys
from rs_embed_dask.store import durable
with durable.locked_file(durable.Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.readline()
"""


def test_what_a_living_process_is_writing_stays(tmp_path):
    file = tmp_path / "0.56.partial"
    command = [sys.executable, "-c", WRITER, str(file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout.readline() == "locked\n"
        assert leftovers(str(tmp_path), remove=True) == []
        assert file.exists()
        writer.kill()
        writer.wait()
    assert leftovers(str(tmp_path), remove=False) == [str(file)]
    assert leftovers(str(tmp_path), remove=True) == [str(file)]
    assert not file.exists()


def test_listing_gives_what_zarr_lists(tmp_path):
    store = make_store(tmp_path / "s", 4, models=[POOLED])
    fill_store(store)
    plain = Store.open(LocalStore(tmp_path / "s"))
    for folder in ("galileo", "items/key/c", "nothing"):
        assert store.location.keys(folder) == plain.location.keys(folder)
    assert "galileo/status/c/0" in store.location.keys("galileo")


def test_a_key_can_be_written_once_only(tmp_path):
    from zarr.buffer import default_buffer_prototype
    from zarr.core.sync import sync

    storage = make_store(tmp_path / "s", 4, models=[POOLED]).location.storage
    buffer = default_buffer_prototype().buffer
    for content in (b"first", b"second"):
        sync(storage.set_if_not_exists("lease", buffer.from_bytes(content)))
    storage.set_sync("other", buffer.from_bytes(b"third"))
    assert (tmp_path / "s/lease").read_bytes() == b"first"
    assert (tmp_path / "s/other").read_bytes() == b"third"
    assert not list((tmp_path / "s").rglob("*.partial"))
