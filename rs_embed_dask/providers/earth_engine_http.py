"""The client's way to the network: one pool of connections, a deadline, and no request without either.

The client library takes anything that has the `request` of httplib2. Its own has a pool of ten connections and, by
default, no deadline.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import httplib2
import requests
import urllib3
from requests.adapters import HTTPAdapter

__all__ = ["Transport"]


class Transport:
    """Sends the client's requests.

    Parameters
    ----------
    timeout_s : float
        Longest silence of the service, in seconds.
    connections : int
        Connections that are kept.
    """

    listeners: ClassVar[list[Callable[[Mapping[str, str]], None]]] = []
    """Told the status and headers of each answer, for the live check."""

    def __init__(self, timeout_s: float, connections: int) -> None:
        self.timeout = timeout_s
        self._session = requests.Session()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(pool_connections=4, pool_maxsize=connections))

    def request(
        self,
        uri: str,
        method: str = "GET",
        body: Any = None,
        **options: Any,
    ) -> tuple[httplib2.Response, bytes]:
        """Send a request as httplib2 does.

        Parameters
        ----------
        uri : str
            Address.
        method : str
            Verb.
        body : str or bytes, optional
            What is sent.
        **options
            ``headers``; what else httplib2 takes has no meaning here.

        Returns
        -------
        (httplib2.Response, bytes)
            Headers with the status, and the body.

        Raises
        ------
        ConnectionError, TimeoutError
            Whatever went wrong on the way, without the address, which may hold a key.
        """
        try:
            answer = self._session.request(
                method, uri, data=body, headers=options.get("headers"), timeout=self.timeout, stream=True
            )
            with answer:
                content = answer.raw.read(decode_content=True)  # at once, and not in pieces of 10 kB
        except (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError) as error:
            raise TimeoutError(f"no answer within {self.timeout:g} s") from error
        except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError) as error:
            raise ConnectionError(f"the connection failed: {type(error).__name__}") from error
        headers = {name.lower(): value for name, value in answer.headers.items()}
        for listener in self.listeners:
            listener({**headers, "status": str(answer.status_code)})
        return httplib2.Response(headers | {"status": answer.status_code}), content

    def close(self) -> None:
        """Close the connections that are kept."""
        self._session.close()
