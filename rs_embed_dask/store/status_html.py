"""A status report as HTML, for notebooks: it works on light and dark pages and loads nothing."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Final

from rs_embed_dask.store.codes import STATUS_COLOURS, Status
from rs_embed_dask.store.status_text import counted, next_step, status_name

if TYPE_CHECKING:
    from rs_embed_dask.store.status import StatusReport

__all__ = ["as_html"]

_MOST_ROWS: Final = 20
_STYLE: Final = """
.rse{font:13px/1.45 system-ui,sans-serif;max-width:60em;border:1px solid #8884;border-radius:8px}
.rse{padding:12px 16px;margin:4px 0}.rse h4{margin:0 0 2px;font-size:14px}
.rse h5{margin:12px 0 4px;font-size:12px;letter-spacing:.04em;text-transform:uppercase;opacity:.7}
.rse .path{font-family:ui-monospace,monospace;font-size:12px;opacity:.75;word-break:break-all}
.rse .bar{display:flex;height:14px;min-width:16em;border-radius:7px;overflow:hidden;background:#8883}
.rse .bar span{min-width:2px}.rse table{border-collapse:collapse;width:100%;background:none}
.rse td{padding:3px 10px 3px 0;text-align:left;vertical-align:middle;background:none;border:0}
.rse td.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.rse td.w{white-space:nowrap}.rse .dot{display:inline-block;width:9px;height:9px;border-radius:50%;margin:0 5px 0 0}
.rse .key{margin-right:14px;white-space:nowrap}.rse code{font-size:12px;background:none;color:inherit}
"""


def as_html(report: StatusReport) -> str:
    """Write a status report as one HTML element with its own style."""
    store = report.store
    rows = "".join(_model_row(label, counts) for label, counts in report.counts.items())
    parts = [
        f"<style>{_STYLE}</style><div class='rse'>",
        f"<h4>{counted(store.n_items, 'item')} &times; {counted(len(store.labels), 'model')}</h4>",
        f"<div class='path'>{html.escape(store.location.name)}</div>",
        f"<div>made {html.escape(store.created)} &middot; {html.escape(next_step(report))}</div>",
        f"<h5>Models</h5><table>{rows}</table>",
        f"<div style='margin-top:6px'>{_legend(report)}</div>",
        _failures(report),
        _gaps(report),
        "</div>",
    ]
    return "".join(parts)


def _dot(code: Status) -> str:
    return f"<span class='dot' style='background:{STATUS_COLOURS[code]}'></span>"


def _model_row(label: str, counts: dict[Status, int]) -> str:
    order = sorted(counts.items(), key=lambda pair: (pair[0] is Status.PENDING, int(pair[0])))
    spans = "".join(
        f"<span style='flex:{count};background:{STATUS_COLOURS[code]}' title='{count:,} {status_name(code)}'></span>"
        for code, count in order
    )
    listed = " &middot; ".join(f"{count:,} {status_name(code)}" for code, count in order)
    bar = f"<td style='width:45%'><div class='bar'>{spans}</div></td>"
    return f"<tr><td><b>{html.escape(label)}</b></td>{bar}<td>{listed}</td></tr>"


def _legend(report: StatusReport) -> str:
    used = {code for counts in report.counts.values() for code in counts}
    return "".join(f"<span class='key'>{_dot(code)}{status_name(code)}</span>" for code in Status if code in used)


def _failures(report: StatusReport) -> str:
    if not report.failures:
        return ""
    rows = "".join(
        f"<tr><td class='n'>{one.count:,}</td><td class='w'>{_dot(one.status)}{status_name(one.status)}</td>"
        f"<td>{html.escape(one.label)}</td><td><code>{html.escape(one.reason or 'no reason given')}</code></td></tr>"
        for one in report.failures[:_MOST_ROWS]
    )
    more = len(report.failures) - _MOST_ROWS
    tail = f"<div>and {more} more reasons: see <code>.failures</code></div>" if more > 0 else ""
    return f"<h5>Reasons</h5><table>{rows}</table>{tail}"


def _gaps(report: StatusReport) -> str:
    if not report.gaps:
        return ""
    rows = "".join(
        f"<tr><td><b>{html.escape(one.label)}</b></td><td>{html.escape(str(one))}</td></tr>" for one in report.gaps
    )
    return f"<h5>Frames without data</h5><table>{rows}</table>"
