"""What benchmarks share."""

from __future__ import annotations

import pytest

from benchmarks.scratch import scratch


def test_a_scratch_folder_is_made_where_it_is_asked_for_and_removed(tmp_path):
    with scratch(tmp_path / "disk" / "runs") as folder:
        (folder / "run.zarr").write_text("")
        assert folder.parent == tmp_path / "disk" / "runs"
    assert list((tmp_path / "disk" / "runs").iterdir()) == []
    with scratch() as folder:
        assert folder.is_dir()
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError), scratch(tmp_path / "file"):
        pass
