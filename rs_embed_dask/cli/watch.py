"""The command `watch`: a page that is redrawn in a terminal, a line for each look elsewhere."""

from __future__ import annotations

import contextlib
import functools
import json
import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from rs_embed_dask.cli import show
from rs_embed_dask.errors import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from rs_embed_dask.store.live import LiveStatus
    from rs_embed_dask.store.services import StorageOptions

__all__ = ["show_run"]

_OFTEN_S: Final = 2.0
_SELDOM_S: Final = 60.0
_WINDOW_S: Final = 90.0
"""The rate is that of so many seconds; longer than a lease's term, for which a holder must be silent."""


def show_run(
    store: str,
    *,
    storage: StorageOptions | None = None,
    every_s: float | None,
    is_once: bool,
    as_json: bool,
    pause: Callable[[float], object] = time.sleep,
) -> LiveStatus:
    """Show a run until it is complete; return how it stood last."""
    from rich.console import Console

    from rs_embed_dask.store.live import COMPLETE, look
    from rs_embed_dask.store.target import located

    target = located(store, storage)
    console = Console()  # of its own: that of the process keeps what it found where it was first used
    # a dumb terminal cannot redraw
    is_page = sys.stdout.isatty() and not console.is_dumb_terminal and not as_json
    looks: deque[LiveStatus] = deque()
    with contextlib.ExitStack() as stack:
        write = _page(console, stack) if is_page else functools.partial(_line, as_json=as_json)
        while True:
            now = look(target, since=looks[0] if looks else None)
            write(now)
            if is_once or now.state == COMPLETE:
                return now
            looks.append(now)
            while len(looks) > 1 and now.seconds - looks[1].seconds >= _WINDOW_S:
                looks.popleft()
            pause(every_s or (_OFTEN_S if is_page else _SELDOM_S))


def _line(now: LiveStatus, *, as_json: bool) -> None:
    show.text(json.dumps(now.to_dict(), ensure_ascii=False) if as_json else now.line)
    sys.stdout.flush()  # a log is read while it is written


def _page(console: Console, stack: contextlib.ExitStack) -> Callable[[LiveStatus], None]:
    from rich.live import Live
    from rich.text import Text

    live = stack.enter_context(Live(console=console, auto_refresh=False))
    return lambda now: live.update(Text(printable(str(now))), refresh=True)
