"""`rs.explore` in a notebook in a real browser, where there is one."""

from __future__ import annotations

from tests import explore_browser


def test_a_browser_shows_the_map_and_its_clicks(tmp_path):
    if reason := explore_browser.missing():
        assert explore_browser.main([]) == 1
        assert "no Chromium is installed" in reason
        return
    explore_browser.check(tmp_path)


def test_without_a_browser_one_line_says_so(monkeypatch, capsys):
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert explore_browser.main([]) == 1
    assert capsys.readouterr().out.startswith("not run: no Chromium is installed (looked for chromium")
