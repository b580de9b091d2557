"""Numbers and tables for people."""

from __future__ import annotations

import pytest

from rs_embed_dask.show.tables import bytes_text, seconds_text, table_html, table_text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (2_345_678, "2.35 MB"), (5e15, "5 PB")]
)
def test_bytes(count, text):
    assert bytes_text(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0321, "0.032 s"), (42.4, "42 s"), (90, "1.5 min"), (5400, "1.5 h"), (200_000, "2.3 days")],
)
def test_seconds(seconds, text):
    assert seconds_text(seconds) == text


def test_tables():
    rows = [("reads", "1,000"), ("a<b", "2")]
    assert table_text("Plan", ("", ""), rows) == "Plan\n  reads  1,000\n  a<b    2"
    assert table_text("T", ("what", "n"), rows).splitlines()[1] == "  what   n"
    html = table_html("Plan", ("what", "n"), rows)
    assert '<td style="text-align:left">a&lt;b</td>' in html
    assert "<th>what</th>" in html
