"""The pages of the site that are not files of docs/, as a hook of mkdocs: models in the menu, notebooks, changelog."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

import nbformat
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File
from nbconvert import MarkdownExporter

ROOT = Path(__file__).resolve().parents[1]
OUTSIDE = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
FOREIGN = re.compile(r'<(?:script|img|iframe|link)\b[^>]*\b(?:src|href)="((?:https?:)?//[^"]*)"')
LINK = re.compile(r"(?<=\]\()([^)#:\s]+)")
FRAME = re.compile(r' border="1" class="dataframe"|<style scoped>.*?</style>', re.DOTALL)  # the theme draws tables


def notebooks():
    """The notebooks, in order."""
    return sorted((ROOT / "notebooks").glob("*.ipynb"))


def on_config(config):
    """Fill the menu with a page a model and a page a notebook."""
    models = sorted(path.stem for path in (ROOT / "docs" / "models").glob("*.md") if path.stem != "index")
    menu = {
        "Models": [{"All models": "models/index.md"}, *({name: f"models/{name}.md"} for name in models)],
        "Notebooks": [f"notebooks/{path.stem}.md" for path in notebooks()],
    }
    for entry in config["nav"]:
        for title in entry.keys() & menu.keys():
            entry[title] = menu[title]
    return config


def on_files(files, config):
    """Add what lies beside docs/, with its links turned to where it is on the site."""
    for path, place in OUTSIDE.items():
        text = (ROOT / path).read_text("utf-8")
        files.append(File.generated(config, place, content=turned(text, path, place)))
    for path in notebooks():
        place = f"notebooks/{path.stem}.md"
        text, pictures = shown(path)
        files.append(File.generated(config, place, content=turned(text, f"notebooks/{path.name}", place)))
        for name, picture in pictures.items():
            files.append(File.generated(config, f"notebooks/{name}", content=picture))
    return files


def on_page_markdown(markdown, page, config, files):
    """Turn links that leave docs/ to their pages on the site."""
    place = page.file.src_uri
    return markdown if page.file.generated_by else turned(markdown, f"docs/{place}", place)


def on_post_page(output, page, config):
    """Refuse a page that a reader without a network could not see whole."""
    if found := FOREIGN.findall(output):
        message = f"{page.file.src_uri} needs {found[0]}. Fix: keep a copy beside the page."
        raise PluginError(message)
    return output


def shown(path):
    """A notebook as Markdown with its stored outputs, and its pictures by name."""
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata["language_info"] = {"name": "python"}  # colours the code
    options = {"output_files_dir": f"{path.stem}_files", "unique_key": path.stem}
    text, resources = MarkdownExporter().from_notebook_node(notebook, resources=options)
    return FRAME.sub("", text), resources["outputs"]


def turned(text, path, place):
    """Rewrite the links of a file of the repository for a page of the site."""

    def target(match):
        wanted = posixpath.normpath(posixpath.join(posixpath.dirname(path), match[1]))
        found = site_place(wanted)
        return match[1] if found is None else posixpath.relpath(found, posixpath.dirname(place) or ".")

    return LINK.sub(target, text)


def site_place(path):
    """Where a file of the repository is on the site; None if it is not there."""
    folder, _, rest = path.partition("/")
    if folder == "docs":
        return rest
    if folder == "notebooks" and path.endswith(".ipynb"):
        return f"{path.removesuffix('.ipynb')}.md"
    return OUTSIDE.get(path)
