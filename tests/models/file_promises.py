"""What every model promises of files, for the families' tests to take over: each form loads, wrong ones are refused."""

from __future__ import annotations

import pickle

import pytest
import torch
from safetensors.torch import save_file

from rs_embed_dask.errors import WeightsError


class FilePromises:
    """A subclass is parametrized by `model` and says its `family`, a module with `small` and `tensors`.

    `official(model)` is a file's content as its authors write it, `models` are all of the family.
    """

    family = None
    models = ()

    @staticmethod
    def official(model):
        raise AssertionError(model)

    @pytest.mark.parametrize("form", ["official", "flat", "safetensors"])
    def test_every_form_loads(self, model, form, tmp_path):
        known = self.family.tensors(model)
        path = tmp_path / ("a.safetensors" if form == "safetensors" else "a.pt")
        if form == "safetensors":
            save_file(known, path)
        else:
            torch.save(self.official(model) if form == "official" else known, path)
        given = self.family.small(model, weights=path).encoder.state_dict()
        assert given.keys() == known.keys()
        assert all(torch.equal(given[name], known[name]) for name in known)

    def test_wrong_files_are_refused(self, model, tmp_path):
        known, path = self.family.tensors(model), tmp_path / "wrong.pt"
        first, *_ = known
        other = next(name for name in self.models if name != model)
        for content, message in (
            (self.family.tensors(other), r"names in the weights.*missing"),
            (known | {first: torch.zeros(7)}, "1 misshapen"),
            (known | {"head.weight": torch.zeros(2)}, r"1 unexpected: head\.weight"),
        ):
            torch.save(content, path)
            with pytest.raises(WeightsError, match=message):
                self.family.small(model, weights=path)
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(WeightsError, match="truncated"):
            self.family.small(model, weights=path)

    def test_nothing_in_a_file_is_run(self, model, tmp_path):
        class Bad:
            def __reduce__(self):
                return (type(tmp_path).touch, (tmp_path / "ran",))

        torch.save(self.official(model) | {"bad": Bad()}, tmp_path / "bad.pt", pickle_module=pickle)
        with pytest.raises(WeightsError, match="would have to be executed"):
            self.family.small(model, weights=tmp_path / "bad.pt")
        assert not (tmp_path / "ran").exists()
