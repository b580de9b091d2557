import hashlib
import http.server
import os
import stat
import threading
import time

import pytest
import torch

from rs_embed_dask.errors import LicenceError, SpecError, WeightsError
from rs_embed_dask.inference.loading import load_model
from rs_embed_dask.models import card
from rs_embed_dask.models.weights import digest, fetch
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
