"""The guard in conftest.py: loopback works, everything else is refused before a packet leaves."""

from __future__ import annotations

import socket
import threading

import pytest

from tests.conftest import NetworkBlockedError, is_local


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "localhost", b"127.0.0.1", None, "0.0.0.0", ""])
def test_this_machine_is_local(host):
    assert is_local(host)


@pytest.mark.parametrize("host", ["192.0.2.1", "example.org", "2001:db8::1", b"example.org"])
def test_other_machines_are_not(host):
    assert not is_local(host)


def test_a_connection_outwards_is_refused():
    with socket.socket() as outward, pytest.raises(NetworkBlockedError, match=r"192\.0\.2\.1"):
        outward.connect(("192.0.2.1", 80))
    with socket.socket() as outward, pytest.raises(NetworkBlockedError):
        outward.connect_ex(("192.0.2.1", 80))
    with pytest.raises(NetworkBlockedError, match="example"):
        socket.create_connection(("example.org", 80))


def test_a_datagram_outwards_is_refused():
    with socket.socket(type=socket.SOCK_DGRAM) as outward, pytest.raises(NetworkBlockedError):
        outward.sendto(b"x", ("192.0.2.1", 53))


def test_loopback_works():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        answers = []
        listener = threading.Thread(target=lambda: answers.append(server.accept()))
        listener.start()
        with socket.create_connection(server.getsockname(), timeout=5) as client:
            client.sendall(b"hello")
            listener.join(timeout=5)
            accepted, _ = answers[0]
            with accepted:
                assert accepted.recv(5) == b"hello"
