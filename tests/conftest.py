"""What every test runs under: no network but loopback, and property tests that draw the same examples each time.

Warnings are errors by `pyproject.toml`. Worker processes that a test starts are not watched here; they talk to
services that the test itself runs on loopback.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from pathlib import Path
from unittest.mock import patch

import hypothesis
import pytest
from xdist.scheduler import LoadFileScheduling

hypothesis.settings.register_profile("suite", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("suite")

REAL_CONNECT = socket.socket.connect
REAL_CONNECT_EX = socket.socket.connect_ex
REAL_SENDTO = socket.socket.sendto
REAL_GETADDRINFO = socket.getaddrinfo


class NetworkBlockedError(RuntimeError):
    """A test tried to leave this machine. No OSError, so that no library takes it for a fault to retry."""


MEMORY_BOUND = {"test_parity.py", "test_ten_models.py", "test_notebooks.py"}


class ByFile(LoadFileScheduling):
    """Whole files to each process, because their tests share clusters; all that need gigabytes to one of them."""

    def _split_scope(self, nodeid):
        path = Path(super()._split_scope(nodeid))
        return "memory" if path.name in MEMORY_BOUND else str(path)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    return ByFile(config, log)


def pytest_collection_modifyitems(items):
    """Begin with the longest part."""
    items.sort(key=lambda item: item.path.name not in MEMORY_BOUND)


def is_local(host: object) -> bool:
    """Say whether a host is this machine: loopback, its own name, or every interface."""
    if host is None or isinstance(host, bytes):
        return host is None or is_local(host.decode())
    text = str(host).partition("%")[0]
    if text in {"", "localhost", "localhost.localdomain", socket.gethostname()}:
        return True
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def is_numeric(host: object) -> bool:
    """Say whether a host is written as an address, which needs no name server."""
    try:
        ipaddress.ip_address(str(host).partition("%")[0])
    except ValueError:
        return False
    return True


def own_address(host: object) -> bool:
    """Say whether an address belongs to this machine, as Dask's default listeners do."""
    try:
        own = {info[4][0] for info in REAL_GETADDRINFO(socket.gethostname(), None)}
    except OSError:
        own = set()
    return str(host) in own


def refuse(host: object) -> None:
    if not (is_local(host) or own_address(host)):
        raise NetworkBlockedError(f"a test tried to reach {host!r}: tests may use loopback only")


def guarded_connect(self, address):
    # a datagram socket sends nothing when it connects; Dask finds its own address that way
    if self.family in {socket.AF_INET, socket.AF_INET6} and self.type != socket.SOCK_DGRAM:
        refuse(address[0])
    return REAL_CONNECT(self, address)


def guarded_connect_ex(self, address):
    if self.family in {socket.AF_INET, socket.AF_INET6} and self.type != socket.SOCK_DGRAM:
        refuse(address[0])
    return REAL_CONNECT_EX(self, address)


def guarded_sendto(self, *args):
    if self.family in {socket.AF_INET, socket.AF_INET6}:
        refuse(args[-1][0])
    return REAL_SENDTO(self, *args)


def guarded_getaddrinfo(host, *args, **kwargs):
    if not is_numeric(host):
        refuse(host)
    return REAL_GETADDRINFO(host, *args, **kwargs)


@pytest.fixture(autouse=True, scope="session")
def own_home(tmp_path_factory):
    """Give the tests, and the processes that they start, a home folder of their own: a user's receipts stay as is."""
    with pytest.MonkeyPatch.context() as own:
        own.setenv("MPLCONFIGDIR", os.environ.get("MPLCONFIGDIR", str(Path.home() / ".cache" / "matplotlib")))
        own.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(autouse=True, scope="module")
def own_registries():
    """Forget what the tests of a file register, for the next file in this process lists it all."""
    from rs_embed_dask import models
    from rs_embed_dask.providers import registry

    with patch.dict(models._registered), patch.dict(registry._REGISTERED):
        yield


@pytest.fixture(autouse=True, scope="session")
def loopback_only():
    """Refuse every connection that leaves this machine, for the whole run."""
    with pytest.MonkeyPatch.context() as guard:
        guard.setattr(socket.socket, "connect", guarded_connect)
        guard.setattr(socket.socket, "connect_ex", guarded_connect_ex)
        guard.setattr(socket.socket, "sendto", guarded_sendto)
        guard.setattr(socket, "getaddrinfo", guarded_getaddrinfo)
        yield
