"""What a release is made of: the wheel's contents, the citation, the templates of issues, the tags of images."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile

import pytest
import yaml

from tests import release
from tests.release import PROJECT, ROOT

VERSION = PROJECT["version"]
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("[0-9]*.yml"))
NAME = f"rs_embed_dask-{VERSION}"


def check(schema, *paths):
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_citation_is_of_this_version_and_its_day():
    check("citation-file-format", ROOT / "CITATION.cff")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    day = re.search(rf"^## \[{re.escape(VERSION)}\] - (\d{{4}}-\d\d-\d\d)$", changelog(), re.MULTILINE)[1]
    assert (citation["version"], citation["date-released"]) == (VERSION, day)
    assert citation["license"] == PROJECT["license"]


def changelog():
    return (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_the_changelog_begins_with_what_is_unreleased_then_this_version():
    heads = re.findall(r"^## \[(.+?)\]", changelog(), re.MULTILINE)
    assert heads[:2] == ["Unreleased", VERSION]


def test_templates_of_issues_are_well_formed():
    assert len(FORMS) == 3
    check("github-issue-forms", *FORMS)
    check("github-issue-config", ROOT / ".github" / "ISSUE_TEMPLATE" / "config.yml")


def test_images_have_the_tag_of_this_version():
    files = [path for path in (ROOT / "deploy").rglob("*") if path.is_file()]
    tags = re.findall(r"\d+\.\d+\.\d+(?=-(?:cpu|cuda)\b)", "\n".join(path.read_text("utf-8") for path in files))
    assert len(tags) > 8
    assert set(tags) == {VERSION}


def wheel(folder, *files):
    path = folder / f"{NAME}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file in files:
            archive.writestr(file, "")
    return path


NEEDED = ("rs_embed_dask/py.typed", f"{NAME}.dist-info/licenses/LICENSE")


def test_a_wheel_holds_the_package_and_nothing_beside_it(tmp_path):
    release.check_contents(wheel(tmp_path, *NEEDED))
    with pytest.raises(SystemExit, match=r"'tests/release\.py'"):
        release.check_contents(wheel(tmp_path, *NEEDED, "tests/release.py"))
    with pytest.raises(SystemExit, match=r"lacks \['rs_embed_dask/py\.typed'\]"):
        release.check_contents(wheel(tmp_path, NEEDED[1]))
    with pytest.raises(SystemExit, match=r"0\.0\.9"):
        release.check_contents(wheel(tmp_path, *NEEDED, "rs_embed_dask-0.0.9.dist-info/METADATA"))


def test_the_pythons_are_those_that_the_package_names():
    assert release.PYTHONS == ("3.11", "3.12", "3.13")
    asked = "import sys; print('%d.%d' % sys.version_info[:2])"
    found = [
        subprocess.run([python, "-c", asked], capture_output=True, text=True, check=True).stdout.strip()
        for python in release.pythons()
    ]
    assert found
    assert [version for version in release.PYTHONS if version in found] == found


def test_the_first_python_has_the_tested_versions_and_all_have_the_newest():
    assert release.environments(["a", "b"], both=False) == [("a", "tested"), ("a", "newest"), ("b", "newest")]
    assert len(release.environments(["a", "b", "c"], both=True)) == 6


def test_a_command_that_fails_shows_what_it_said():
    with pytest.raises(SystemExit, match="no such thing"):
        release.quietly(sys.executable, "-c", "import sys; sys.exit('no such thing')")
    assert release.quietly(sys.executable, "-c", "print(1)") == "1\n"
