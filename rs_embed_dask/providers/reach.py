"""Whether a service can be reached at all: a fault of the way to it, which its own answers never are."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait as wait_for
from typing import Any, Final
from urllib.parse import urlsplit

import requests
import urllib3

from rs_embed_dask.errors import TransientError, UnreachableError
from rs_embed_dask.providers.addresses import HTTP, AddressError, JudgedAdapter
from rs_embed_dask.providers.retry import GaveUpError, RetryPolicy, retried, wait_text

__all__ = ["PROBE", "Ask", "ask_here", "check_services", "no_connection", "reach", "services_of"]

PROBE: Final = RetryPolicy(attempts=4, first_wait_s=0.8, longest_wait_s=4.0, timeout_s=2.5, deadline_s=8.0)
"""How often, and how long, a service that nobody reaches is tried before a run ends: seconds, not a read's minutes."""

Ask = Callable[[tuple[str, ...]], Mapping[str, str]]
"""Tries some hosts once and returns, of those that nobody reaches, why not."""

_GRACE_S: Final = 1.0

_NO_ROUTE: Final = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL})


_WORDS: Final = (
    (ssl.SSLCertVerificationError, "its certificate is not accepted"),
    (ssl.SSLError, "no encrypted connection was made"),
    (socket.gaierror, "its name cannot be resolved"),
    (ConnectionRefusedError, "it refused the connection"),
    (urllib3.exceptions.NewConnectionError, "no connection was made"),
    (urllib3.exceptions.ConnectTimeoutError, "no connection was made in time"),
)


def no_connection(error: BaseException) -> str:
    """Return why no connection was made, or nothing where the error came from a host that was reached."""
    causes = tuple(_causes(error))
    why = next(filter(None, map(_words, causes)), "")
    if any(isinstance(cause, urllib3.exceptions.ProxyError) for cause in causes):
        return f"the proxy leads nowhere: {why or causes[0]}"
    return why


def _words(cause: BaseException) -> str:
    if isinstance(cause, OSError) and cause.errno in _NO_ROUTE:
        return "no network leads to it"
    words = next((words for kind, words in _WORDS if isinstance(cause, kind)), "")
    detail = getattr(cause, "verify_message", "") or getattr(cause, "reason", "")
    return f"{words} ({detail})" if words and isinstance(detail, str) and detail else words


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """List what led to an error, the first cause first; urllib3 keeps some as an argument alone."""
    if error is not None:
        held = (each for each in error.args if isinstance(each, BaseException))
        yield from _causes(error.__cause__ or next(held, None) or error.__context__)
        yield error


def reach(host: str, timeout_s: float = PROBE.timeout_s) -> str:
    """Return why no connection can be made to a host; nothing where it answers, whatever it says, or stays silent."""
    with requests.Session() as session:
        for scheme in HTTP:
            session.mount(f"{scheme}://", JudgedAdapter(host))
        try:
            session.head(f"{host}/", timeout=(timeout_s, timeout_s), allow_redirects=False, stream=True).close()
        except requests.RequestException as error:
            return no_connection(error)
        except AddressError:
            return ""  # for the read to say
    return ""


def ask_here(hosts: tuple[str, ...]) -> dict[str, str]:
    """Try some hosts from this process; see `Ask`."""
    # in threads that are left behind, for resolving a name blocks and knows no timeout
    pool = ThreadPoolExecutor(len(hosts), thread_name_prefix="rs-reach")
    asked = {host: pool.submit(reach, host) for host in hosts}
    wait_for(asked.values(), PROBE.timeout_s + _GRACE_S)
    pool.shutdown(wait=False)
    answers = {host: one.result() if one.done() else "no connection was made in time" for host, one in asked.items()}
    return {host: why for host, why in answers.items() if why}


def services_of(source: Any) -> tuple[str, ...]:
    """Return the hosts that every read of a provider or product asks, as it names its `services`, or its `place`."""
    named: Iterable[str] = getattr(source, "services", (str(getattr(source, "place", "")),))
    parts = (urlsplit(address) for address in named)
    return tuple(dict.fromkeys(f"{scheme}://{host}" for scheme, host, *_ in parts if scheme in HTTP))


def check_services(hosts: Iterable[str], ask: Ask, *, wait: Callable[[float, str], None]) -> None:
    """Raise UnreachableError where nobody reaches one of some hosts, tried a few times; `wait` is told for what."""
    left = tuple(dict.fromkeys(hosts))
    faults: list[TransientError] = []
    if not left:
        return

    def attempt() -> None:
        nonlocal left
        reasons = dict(ask(left))
        left = tuple(reasons)
        for host in left[:1]:
            faults.append(TransientError("service", value=host, reason=reasons[host], fix="check the network"))
            raise faults[-1]

    def pause(seconds: float) -> None:
        wait(seconds, wait_text(faults[-1], len(faults), PROBE.attempts))

    try:
        retried(attempt, PROBE, wait=pause)
    except GaveUpError as error:
        fault = error
    else:
        return
    reason = f"it cannot be reached: {fault.reason}; nothing was computed, and what is left stays pending"
    fix = "check network, proxy and address where reads run, with `rs-embed-dask doctor`; then make the same call again"
    raise UnreachableError("service", value=fault.value, reason=reason, fix=fix)
