"""Which addresses a worker may open.

A user may name any address. What such an address names in turn, as a catalogue's links and a server's redirects do, is
judged here, in one place: it must be HTTP, and it must not lead back into the worker's own machine or to the services
that hand out a cloud machine's credentials, unless the address that the user named lies there too. Names are judged by
what they resolve to, at the moment when a connection is made, because an answer of the name server may change.
"""

from __future__ import annotations

import functools
import ipaddress
import logging
import re
import socket
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urljoin, urlsplit

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

from rs_embed_dask.errors import ProviderError, SpecError, is_key_like, redact
from rs_embed_dask.providers.buckets import over_http
from rs_embed_dask.providers.connections import POOL_CLASSES, BoundedAdapter, BoundedResponse
from rs_embed_dask.specs.base import text

__all__ = [
    "KEY",
    "AddressError",
    "JudgedAdapter",
    "absolute",
    "host_only",
    "is_loopback",
    "joined",
    "judge",
    "keep_logs_clean",
    "plain_address",
    "pools_for",
]

HTTP: Final = frozenset({"http", "https"})
LOCAL: Final = frozenset({"", "file"})
LOOPBACK: Final = "loopback"
LINK_LOCAL: Final = "link-local"
RESERVED: Final = "reserved"
# urllib3 ends a host at a backslash, urllib does not; urllib drops tabs and line breaks, urllib3 does not; a proxy may
# decode what is quoted in a host
_UNCLEAR: Final = re.compile(
    r"[\x00-\x1f\x7f-\x9f]|^[^/?#]*//[^/?#]*[\s\\]|^[^/?#]*//(?:[^/?#]*@)?[^/?#@\[]*%[^/?#@]*(?:[/?#]|$)"
)
# the metadata services of clouds that do not lie in the link-local range: AWS, Google, Alibaba, Azure, Oracle
_METADATA: Final = frozenset({"fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "168.63.129.16", "192.0.0.192"})
_METADATA_NAMES: Final = frozenset({"metadata.google.internal", "instance-data.ec2.internal"})
_THIS_NETWORK: Final = ipaddress.IPv4Network("0.0.0.0/8")
_TRANSLATED: Final = tuple(
    ipaddress.IPv6Network(network) for network in ("64:ff9b::/96", "64:ff9b:1::/48", "::ffff:0:0:0/96", "::/96")
)
_POOLS: Final = 32
_CONNECTIONS: Final = 64
_LOGGERS: Final = (
    *("urllib3.connection", "urllib3.connectionpool", "urllib3.poolmanager", "urllib3.response", "urllib3.util.retry"),
    *("googleapiclient.discovery", "googleapiclient.http", "google.auth.transport.requests"),
)
KEY: Final = "{key}"


class AddressError(ProviderError):
    """An address that a worker does not open."""


def judge(address: str, *, origin: str, what: str = "address") -> str:
    """Return an address that may be opened on the word of `origin`, the address that the user named.

    This judges what is written; `pools_for` and `JudgedAdapter` judge what names resolve to. Raises AddressError.
    """
    scheme = urlsplit(address).scheme
    if scheme in LOCAL and urlsplit(origin).scheme in LOCAL:
        return address
    host = _host(address) if scheme in HTTP and not _UNCLEAR.search(address) else ""
    if not host:
        kind = f"{scheme}:" if scheme in LOCAL - {""} else f"{scheme}://" if scheme else "local and unclear"
        reason = f"cannot read {kind} addresses that a catalogue or server names"
        raise AddressError(what, value=address, reason=reason, fix="use a catalogue with http(s) links")
    scope = _written_scope(host)
    if scope is not None:
        _origin(origin).check(host, scope, what)
    return address


def plain_address(what: str, address: object, *, fix: str) -> str:
    """Return the address of a service as a user gave it, which travels in graphs and stores and so holds no secret."""
    url = text(what, address, fix=fix).rstrip("/")
    if not _can_be_opened(url):
        raise SpecError(what, value=url, reason="it is not an http(s) address", fix=fix)
    parts = urlsplit(url)
    if "@" in parts.netloc or parts.query or parts.fragment:
        reason = "a user name, password or query may be a secret, and would travel in graphs and stores"
        raise SpecError(what, value=host_only(url), reason=reason, fix=fix)
    if any(is_key_like(segment) for segment in parts.path.split("/")):
        reason = "its path holds what looks like a key, which would travel in graphs and stores"
        raise SpecError(what, value=host_only(url), reason=reason, fix=fix)
    return url


def _can_be_opened(url: str) -> bool:
    """Tell whether a connection can be tried: the scheme, a host that a name server can be asked for, a port."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
        host.removesuffix(".").encode("idna")
    except ValueError:
        return False
    return parts.scheme in HTTP and bool(host and _host(url)) and not _UNCLEAR.search(url)


def is_loopback(address: str) -> bool:
    """Tell whether an address is written so that it cannot leave this machine."""
    return _written_scope(_host(address)) == LOOPBACK


def host_only(url: str) -> str:
    """Return an address as representations show it: a path may hold a key that nobody recognised."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{'/...' if parts.path else ''}"


def absolute(href: str, item: Mapping[str, Any], *, url: str) -> str:
    """Return a link of a STAC item as an absolute address: relative ones count from the item's own address."""
    # in a bucket too, which urljoin does not know
    links = item.get("links")
    listed = links if isinstance(links, list | tuple) else ()
    own = (link["href"] for link in listed if isinstance(link, Mapping) and _is_self(link))
    stated = next(own, f"collections/{item.get('collection')}/items/{item.get('id')}")
    return over_http(joined(over_http(joined(f"{url.rstrip('/')}/", str(stated))), href))


def joined(base: str, link: str) -> str:
    """Return a link as an absolute address; one that cannot be parsed is quoted, so that `judge` refuses it."""
    try:
        return urljoin(base, link)
    except ValueError:
        return urljoin(base, quote(link, safe="/:"))


def _is_self(link: Mapping[str, Any]) -> bool:
    return link.get("rel") == "self" and isinstance(link.get("href"), str)


@functools.lru_cache(maxsize=1024)
def _host(address: str) -> str:
    """Return the host as the library that connects reads it."""
    try:
        return (urllib3.util.parse_url(address).host or "").strip("[]").rstrip(".").lower()
    except urllib3.exceptions.LocationParseError:
        return ""


@functools.lru_cache(maxsize=1024)
def _written_scope(host: str) -> str | None:
    """Return the scope of a host that is written as a number, in any form that connects, or as localhost; else None."""
    if host == "localhost" or host.endswith(".localhost"):
        return LOOPBACK
    if host in _METADATA_NAMES:  # a proxy would resolve them
        return LINK_LOCAL
    try:
        return _scope(host)
    except ValueError:
        pass
    try:
        return _scope(socket.inet_ntoa(socket.inet_aton(host)))  # 2130706433, 0x7f.1 and 127.1 are 127.0.0.1
    except OSError:
        return None


def _scope(number: str) -> str:
    """Return how far an address reaches: not beyond this machine, not beyond this link, or, as "", further."""
    ip = ipaddress.ip_address(number.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address) and not (ip.is_loopback or ip.is_unspecified):
        inside = ip.ipv4_mapped or ip.sixtofour or (ip.teredo or (None, None))[1]
        if inside is None and any(ip in network for network in _TRANSLATED):
            inside = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        ip = inside or ip
    if ip.is_loopback or ip.is_unspecified or (ip.version == 4 and ip in _THIS_NETWORK):  # noqa: PLR2004
        return LOOPBACK
    if ip.is_link_local or str(ip) in _METADATA:
        return LINK_LOCAL
    return RESERVED if ip.is_multicast or str(ip) == "255.255.255.255" else ""


def _resolved(host: str) -> Iterator[str]:
    """Return the scopes of the addresses that a name has now. Raises OSError where it has none."""
    for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM):
        yield _scope(str(entry[4][0]))


@dataclass(frozen=True)
class Origin:
    """The host of an address that a user named, and how far it reaches."""

    host: str
    scope: str

    def check(self, host: str, scope: str, what: str) -> None:
        """Refuse a host of a narrower scope, and the own host where it lies elsewhere than it did."""
        if scope == self.scope or (not scope and host != self.host):
            return
        if host == self.host:
            reason = f"{host} had a {self.scope or 'public'} address and now has a {scope or 'public'} one"
            fix = "check who answers for this name, and start again"
        else:
            reason = f"it has a {scope} address, and {self.host or 'what names it'} has not"
            fix = (
                "use a catalogue whose files lie on the network, or copy the files and read them with provider='files'"
            )
        raise AddressError(what, value=host, reason=reason, fix=fix)


def _origin(address: str) -> Origin:
    """Return the origin of what an address names."""
    try:
        return _pinned(_host(address), urlsplit(address).scheme)
    except OSError:  # its name cannot be resolved now, so nothing was learned that could be kept
        return Origin(_host(address), "")


@functools.lru_cache(maxsize=256)
def _pinned(host: str, scheme: str) -> Origin:
    """Return the origin as it was when this process first met it, so that a name cannot change sides later."""
    written = _written_scope(host)
    if written is not None or not host or _proxy(scheme, host):
        return Origin(host, written or "")
    scopes = set(_resolved(host))
    if len(scopes) > 1:
        fix = "give its number in place of its name"
        raise AddressError("host", value=host, reason="it has addresses on and off this machine", fix=fix)
    return Origin(host, scopes.pop())


class _Judging:
    """A connection that judges what its host resolves to, before it connects and once it has."""

    origin: str
    host: str

    def _new_conn(self) -> socket.socket:
        host, origin = self.host.strip("[]").rstrip(".").lower(), _origin(self.origin)
        try:
            scopes = tuple(_resolved(host))
        except OSError:
            scopes = ()  # the connection finds the same and says it in its own words
        for scope in scopes:
            origin.check(host, scope, "address")
        connected: socket.socket = super()._new_conn()  # type: ignore[misc]
        try:
            origin.check(host, _scope(str(connected.getpeername()[0])), "address")
        except AddressError:
            connected.close()
            raise
        return connected


class JudgedConnection(_Judging, HTTPConnection):
    """A plain connection."""

    response_class = BoundedResponse

    def __init__(self, *args: Any, origin: str, **options: Any) -> None:
        super().__init__(*args, **options)
        self.origin = origin


class JudgedTlsConnection(_Judging, HTTPSConnection):
    """An encrypted connection."""

    response_class = BoundedResponse

    def __init__(self, *args: Any, origin: str, **options: Any) -> None:
        super().__init__(*args, **options)
        self.origin = origin


class _JudgedPools(urllib3.PoolManager):
    """Connections that are opened on the word of one origin; others never share them."""

    def __init__(self, origin: str, **options: Any) -> None:
        super().__init__(**options)
        self.origin = origin

    def _new_pool(self, scheme: str, host: str, port: int, request_context: Any = None) -> Any:
        pool = super()._new_pool(scheme, host, port, request_context)
        kind = JudgedTlsConnection if scheme == "https" else JudgedConnection
        pool.ConnectionCls = functools.partial(kind, origin=self.origin)  # type: ignore[assignment]
        return pool


def pools_for(address: str, *, origin: str) -> urllib3.PoolManager:
    """Return this process's connections to a host, shared by all threads, through the system's proxy if any."""
    scheme, host = urlsplit(address)[:2]
    proxy, named = _proxy(scheme, host), urlsplit(origin)
    return _pools(proxy, "" if proxy else f"{named.scheme}://{named.netloc}")


@functools.lru_cache(maxsize=64)
def _pools(proxy: str | None, origin: str) -> urllib3.PoolManager:
    keep_logs_clean()
    if proxy is None:
        return _JudgedPools(origin, num_pools=_POOLS, maxsize=_CONNECTIONS)
    pools = urllib3.ProxyManager(proxy, num_pools=_POOLS, maxsize=_CONNECTIONS)
    pools.pool_classes_by_scheme = POOL_CLASSES
    return pools


@functools.lru_cache(maxsize=256)
def _proxy(scheme: str, host: str) -> str | None:
    """Return the proxy that the system names for a host, if any; the standard library knows where to look."""
    proxies = urllib.request.getproxies()
    return None if scheme not in proxies or urllib.request.proxy_bypass(host) else proxies[scheme]


class JudgedAdapter(BoundedAdapter):
    """What a session of `requests` mounts for http(s), so that its requests and redirects are judged."""

    def __init__(self, origin: str, **options: Any) -> None:
        self._origin = origin
        keep_logs_clean()
        super().__init__(**options)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **options: Any) -> None:  # noqa: FBT001, FBT002 - as in requests
        """Make the connections that need no proxy."""
        self.poolmanager = _JudgedPools(self._origin, num_pools=connections, maxsize=maxsize, block=block, **options)

    def send(self, request: Any, *args: Any, **options: Any) -> Any:
        """Send one request, a redirect's too."""
        judge(str(request.url), origin=self._origin)
        return super().send(request, *args, **options)


def keep_logs_clean() -> None:
    """Cut secrets out of the records of the libraries that connect: they hold whole addresses, redirects' too."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_without_secrets)


def _without_secrets(record: logging.LogRecord) -> bool:
    record.msg, record.args = redact(record.getMessage()), ()
    return True
