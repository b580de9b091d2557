import hashlib
import http.server
import json
import os
import stat
import threading
import time
import zipfile

import pytest
import torch

from rs_embed_dask.errors import LicenceError, SpecError, WeightsError
from rs_embed_dask.inference.loading import load_model
from rs_embed_dask.models import card, weights
from rs_embed_dask.models.weights import digest, fetch, read
from tests.models.conftest import SMALL


def same(given, wanted):
    return given.keys() == wanted.keys() and all(torch.equal(given[name], wanted[name]) for name in wanted)


def test_weights_that_were_not_fetched(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match="rs-embed-dask weights fetch galileo --variant nano"):
        load_model("galileo", download=False)


def test_random_weights_are_asked_for_and_stamped(galileo):
    assert galileo().weights_info["random"] is True
    with pytest.raises(SpecError, match="this model has none"):
        load_model("rcf", weights="random")


def test_random_weights_are_the_same_everywhere(galileo):
    one, two = (galileo().encoder.state_dict() for _ in range(2))
    assert same(one, two)
    assert one["norm.weight"][:3].tolist() == pytest.approx([1.02563, 1.08863, 1.01104], abs=1e-5)


def test_no_first_values_are_drawn_where_weights_replace_them(monkeypatch):
    """Drawing them on the meta device would import PyTorch's compiler, which takes seconds."""
    monkeypatch.setattr(torch.Tensor, "normal_", None)
    monkeypatch.setattr(torch.Tensor, "uniform_", None)
    with pytest.raises(TypeError, match="not callable"):
        torch.nn.Embedding(2, 3)
    assert load_model("galileo:nano", weights="random").encoder.norm.weight.device.type == "cpu"


def test_restricted_terms_must_be_accepted(tmp_path, small):
    torch.save(small, tmp_path / "a.pt")
    with pytest.raises(LicenceError, match=r"CC-BY-NC-4.0.*accept_licence=True"):
        load_model("satmae", weights=tmp_path / "a.pt", config=SMALL, device="cpu")
    with pytest.raises(LicenceError):
        fetch(card("satmae"), card("satmae").variant(None))


def test_the_digest_is_recorded(tmp_path, nano):
    path = tmp_path / "mine.pt"
    torch.save(nano, path)
    info = load_model("galileo", weights=path, device="cpu").weights_info
    assert info["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert info["source"] == "mine.pt"
    assert info["official"] is False


def test_the_digest_is_remembered_beside_the_file(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"one")
    first = digest(path)
    note = tmp_path / ".a.bin.sha256"
    note.write_text(note.read_text().replace(first, "f" * 64))
    assert digest(path) == "f" * 64
    os.utime(path, ns=(time.time_ns(), time.time_ns() + 5_000_000_000))
    assert digest(path) == first


def test_a_note_of_another_file_is_not_believed(tmp_path):
    """Another file in the same place with the same size and time of change, as an attacker would leave it."""
    path = tmp_path / "a.bin"
    path.write_bytes(b"one")
    state = path.stat()
    digest(path)
    (tmp_path / "b.bin").write_bytes(b"two")
    os.utime(tmp_path / "b.bin", ns=(state.st_atime_ns, state.st_mtime_ns))
    (tmp_path / "b.bin").replace(path)
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (state.st_size, state.st_mtime_ns)
    assert digest(path) == hashlib.sha256(b"two").hexdigest()


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770, 0o703])
def test_a_note_in_a_folder_that_others_can_write_is_not_believed(tmp_path, mode):
    folder = tmp_path / "shared"
    folder.mkdir()
    path = folder / "a.bin"
    path.write_bytes(b"one")
    digest(path)
    note = folder / ".a.bin.sha256"
    note.write_text(note.read_text().replace(hashlib.sha256(b"one").hexdigest(), "f" * 64))
    assert digest(path) == "f" * 64
    folder.chmod(mode)
    assert digest(path) == hashlib.sha256(b"one").hexdigest()
    note.unlink()
    digest(path)
    assert not note.exists()
    link = tmp_path / "link.bin"
    link.symlink_to(path)
    (tmp_path / ".link.bin.sha256").write_text(json.dumps({"sha256": "f" * 64}))
    assert digest(link) == hashlib.sha256(b"one").hexdigest()


def rewritten(path, *, compress=(), add=()):
    """Write an archive anew, some of its entries compressed, others added."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in (*entries.items(), *add):
            is_chosen = any(part in name for part in compress)
            archive.writestr(name, content, zipfile.ZIP_DEFLATED if is_chosen else zipfile.ZIP_STORED)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"compress": ("data.pkl",)}, "data.pkl is compressed"),
        ({"compress": ("/data/",)}, r"data/\d+ is compressed"),
        ({"compress": ("more.pkl",), "add": (("archive/more.pkl", b"\0" * 10**6),)}, "more.pkl is compressed"),
        ({"add": (("archive/more.pkl", b"\0" * 3000),)}, "pickle has 3000 bytes, and the limit is 2000"),
    ],
)
def test_an_archive_that_would_grow_is_refused_before_it_is_unpacked(tmp_path, monkeypatch, changes, reason):
    path = tmp_path / "a.pt"
    torch.save({"a": torch.ones(4)}, path)
    assert torch.equal(read(path)["a"], torch.ones(4))
    rewritten(path)
    assert torch.equal(read(path)["a"], torch.ones(4))
    rewritten(path, **changes)
    monkeypatch.setattr(weights, "_LARGEST_PICKLE", 2000)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was unpacked"))
    with pytest.raises(WeightsError, match=reason):
        read(path)


def test_an_archive_whose_entries_overlap_is_refused(tmp_path):
    path = tmp_path / "a.pt"
    torch.save({"a": torch.ones(4000)}, path)
    whole = bytearray(path.read_bytes())
    at = whole.rindex(b"PK\x01\x02", 0, whole.rindex(b"data/0"))  # its record in the directory
    whole[at + 20 : at + 28] = (10**8).to_bytes(4, "little") * 2
    path.write_bytes(whole)
    with pytest.raises(WeightsError, match="more than the file"):
        read(path)


def test_a_zip_behind_an_old_file_is_read_as_what_it_is(tmp_path):
    path = tmp_path / "a.pt"
    torch.save({"a": torch.ones(4)}, path, _use_new_zipfile_serialization=False)
    torch.save({"a": torch.zeros(4)}, tmp_path / "b.pt")
    path.write_bytes(path.read_bytes() + (tmp_path / "b.pt").read_bytes())
    assert torch.equal(read(path)["a"], torch.ones(4))


def test_nothing_is_written_into_a_read_only_folder(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"one")
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    found = digest(tmp_path / "a.bin")
    tmp_path.chmod(stat.S_IRWXU)
    assert found == hashlib.sha256(b"one").hexdigest()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.bin"]


def test_a_broken_note_is_ignored(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"one")
    (tmp_path / ".a.bin.sha256").write_text("{not json")
    assert digest(path) == hashlib.sha256(b"one").hexdigest()


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of a model hub as a download needs."""

    content = b""

    def answer(self, *, body):
        if "/resolve/" not in self.path:
            self.send_error(404)
            return
        etag = hashlib.sha256(self.content).hexdigest()
        self.send_response(200)
        for name, value in {
            "ETag": f'"{etag}"',
            "X-Repo-Commit": "a" * 40,
            "Content-Length": len(self.content),
        }.items():
            self.send_header(name, str(value))
        self.end_headers()
        if body:
            self.wfile.write(self.content)

    def do_GET(self):
        self.answer(body=True)

    def do_HEAD(self):
        self.answer(body=False)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(tmp_path, monkeypatch):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    yield server
    server.shutdown()
    server.server_close()


def test_weights_are_fetched_once_and_found_offline(hub, monkeypatch, tmp_path, nano):
    torch.save(nano, tmp_path / "tiny.pt")
    monkeypatch.setattr(Hub, "content", (tmp_path / "tiny.pt").read_bytes())
    with pytest.raises(WeightsError, match="weights fetch galileo --variant tiny"):
        load_model("galileo:tiny", download=False)
    path = fetch(card("galileo"), card("galileo").variant("tiny"))
    assert path.read_bytes() == Hub.content
    hub.shutdown()
    with pytest.raises(WeightsError, match="misshapen"):  # it was found; it holds nano's tensors
        load_model("galileo:tiny", download=False)


def test_a_download_that_is_not_the_cards_is_refused(hub, monkeypatch):
    monkeypatch.setattr(Hub, "content", b"something else")
    with pytest.raises(WeightsError, match=r"sha256 is .* the card's is eab6acacf527"):
        load_model("galileo:nano")


def test_a_file_that_the_hub_does_not_have(hub, monkeypatch):
    monkeypatch.setattr(Hub, "do_HEAD", lambda self: self.send_error(404))
    with pytest.raises(WeightsError, match=r"galileo/models/nano/encoder.pt.*the download failed"):
        fetch(card("galileo"), card("galileo").variant("nano"))


def test_a_hub_that_cannot_be_reached(hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
    hub.shutdown()
    hub.server_close()
    with pytest.raises(WeightsError, match=r"the download failed.*pass weights=PATH"):
        fetch(card("galileo"), card("galileo").variant("nano"))
