"""The site of the documents: every public name has its entry, and what leads nowhere stops the build."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import Abort, PluginError

import rs_embed_dask as rs
from rs_embed_dask import compat, errors, plot
from rs_embed_dask.models import all_cards
from tests import site_pages

ROOT = site_pages.ROOT
API = {path.stem: path.read_text("utf-8") for path in (ROOT / "docs" / "api").glob("*.md")}
ENTRIES = re.findall(r"^::: rs_embed_dask\.(\S+)$", "\n".join(API.values()), re.MULTILINE)
TASKS = """A table for my fields, A map of my region, Compare models, On Slurm, On Kubernetes, My own images,
Coming from rs-embed, How right is it, How fast is it"""


def menu():
    return site_pages.on_config(load_config(str(ROOT / "mkdocs.yml")))["nav"]


def section(title):
    (pages,) = (entry[title] for entry in menu() if title in entry)
    return pages


def entries(folder):
    return sorted(name.removeprefix(folder) for name in ENTRIES if name.startswith(folder))


def test_every_public_name_has_one_entry():
    top = sorted(name for name in ENTRIES if "." not in name)
    assert top == sorted(set(rs.__all__) - {"RsEmbedError"})
    assert entries("plot.") == sorted(plot.__all__)


def test_every_name_of_rs_embed_has_an_entry_and_every_error():
    elsewhere = {"Embedding", "ModelError", "ProviderError", "RSEmbedError", "SpecError", "SpatialSpec", "__version__"}
    assert entries("compat.") == sorted(set(compat.__all__) - elsewhere)
    classes = [name for name in errors.__all__ if isinstance(getattr(errors, name), type)]
    assert entries("errors.") == sorted(name for name in classes if issubclass(getattr(errors, name), Exception))


def test_the_summary_names_every_verb():
    verbs = [name for name in rs.__all__ if callable(getattr(rs, name)) and name.islower()]
    formats = {name for name in verbs if name.startswith("to_")} - {"to_dataframe", "to_geodataframe"}
    left = {name for name in verbs if f"[rs_embed_dask.{name}]" not in API["index"]} - formats
    assert left == {"export_batch"}  # rs-embed's, on the page of its names


def test_there_is_a_page_for_each_task_a_model_and_a_notebook():
    titles = [title for page in section("By task") for title in page]
    assert {task.strip() for task in TASKS.split(",")} <= set(titles)
    assert [next(iter(page)) for page in section("Models")[1:]] == sorted(card.id for card in all_cards())
    assert section("Notebooks") == [f"notebooks/{path.stem}.md" for path in site_pages.notebooks()]


@pytest.mark.parametrize(
    ("text", "path", "place", "turned"),
    [
        ("[a](../notebooks/01.ipynb)", "docs/index.md", "index.md", "[a](notebooks/01.md)"),
        ("[a](../docs/maps.md#positions)", "notebooks/03.ipynb", "notebooks/03.md", "[a](../maps.md#positions)"),
        ("[a](docs/models/index.md)", "CONTRIBUTING.md", "contributing.md", "[a](models/index.md)"),
        ("[a](../../CHANGELOG.md)", "docs/models/rcf.md", "models/rcf.md", "[a](../changelog.md)"),
        ("[a](store.md) [b](https://a.b/c)", "docs/index.md", "index.md", "[a](store.md) [b](https://a.b/c)"),
        ("[a](../benchmarks/maps.py)", "docs/index.md", "index.md", "[a](../benchmarks/maps.py)"),
    ],
)
def test_links_are_turned_to_where_the_page_is(text, path, place, turned):
    assert site_pages.turned(text, path, place) == turned


def test_a_notebook_keeps_its_pictures_and_loses_its_frame():
    text, pictures = site_pages.shown(site_pages.notebooks()[0])
    assert len(pictures) == 4
    assert all(picture.startswith(b"\x89PNG") for picture in pictures.values())
    assert all(f"]({name})" in text for name in pictures)
    assert "<table>" in text
    assert "```python\nimport matplotlib" in text


def test_a_page_that_needs_another_host_is_refused():
    page = SimpleNamespace(file=SimpleNamespace(src_uri="a.md"))
    fine = '<a href="https://example.org"></a><img src="a.png"><link href="site.css" rel="stylesheet">'
    assert site_pages.on_post_page(fine, page, None) == fine
    with pytest.raises(PluginError, match=r"a\.md needs https://example\.org/a\.js"):
        site_pages.on_post_page('<script src="https://example.org/a.js"></script>', page, None)


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("[a](b.md#there)", True),
        ("[a](c.md)", False),
        ("[a](b.md#elsewhere)", False),
        ("[a](/b.md)", False),
    ],
)
def test_a_link_that_leads_nowhere_stops_the_build(text, whole, tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text(f"# A\n\n{text}\n")
    (tmp_path / "docs" / "b.md").write_text("# B\n\n## There\n")
    changed = {"docs_dir": str(tmp_path / "docs"), "site_dir": str(tmp_path / "site"), "nav": ["index.md", "b.md"]}
    config = load_config(str(ROOT / "mkdocs.yml"), plugins=[], hooks=[], extra_css=[], **changed)
    if whole:
        build(config)
        assert 'href="b.html#there"' in (tmp_path / "site" / "index.html").read_text("utf-8")
    else:
        with pytest.raises(Abort, match="warnings"):
            build(config)


def test_a_page_that_the_menu_lacks_stops_the_build(tmp_path):
    (tmp_path / "docs").mkdir()
    for name in ("index", "forgotten"):
        (tmp_path / "docs" / f"{name}.md").write_text(f"# {name}\n")
    changed = {"docs_dir": str(tmp_path / "docs"), "site_dir": str(tmp_path / "site"), "nav": ["index.md"]}
    with pytest.raises(Abort, match="warnings"):
        build(load_config(str(ROOT / "mkdocs.yml"), plugins=[], hooks=[], extra_css=[], **changed))
