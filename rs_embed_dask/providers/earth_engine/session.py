"""How a process reaches Earth Engine: which account, which address, how long it waits. Holds no secret.

Credentials are found by each process itself, once, in the place that the user named. What travels in graphs, pickles
and stores is that name.
"""

from __future__ import annotations

import importlib
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

import httplib2
import requests
import urllib3

from rs_embed_dask.errors import AccessError, ProviderError, RsEmbedError, SpecError, TransientError, redact
from rs_embed_dask.providers.addresses import JudgedAdapter, is_loopback, plain_address
from rs_embed_dask.providers.connections import PIECE_BYTES, body_of
from rs_embed_dask.providers.reach import no_connection
from rs_embed_dask.providers.retry import REFUSED_STATUSES, TRANSIENT_STATUSES, RetryPolicy, asked_wait_s, deadline
from rs_embed_dask.specs.base import Record, positive, text, whole

__all__ = [
    "ENDPOINTS",
    "EXTRA",
    "EarthAccess",
    "TooMuchError",
    "Transport",
    "as_ours",
    "credentials_of",
    "fault_kinds",
    "open_session",
]

_TOO_MUCH: Final = re.compile(r"user memory limit|computation timed out|total request size", re.IGNORECASE)
_LOGIN: Final = re.compile(r"authorize access|ee\.Authenticate|no project found|project=", re.IGNORECASE)
_LONGEST: Final = 300
MOST_ANSWER_BYTES: Final = 2**27
"""Of one unpacked answer; the service itself sends 48 MiB of pixels at most."""


class TooMuchError(ProviderError):
    """One request was larger than the service computes at a time."""


def fault_kinds() -> tuple[type[BaseException], ...]:
    """Return the exceptions that the client and its libraries can raise over a request."""
    import ee
    import google.auth.exceptions
    import googleapiclient.errors

    own = (ConnectionError, TimeoutError, ValueError, EOFError, OSError)
    return (ee.EEException, google.auth.exceptions.GoogleAuthError, googleapiclient.errors.Error, *own)


def _answer(error: BaseException) -> Any:
    """Find the response behind an error: the client drops it, but leaves the original as the context."""
    for one in (error, error.__context__, error.__cause__):
        if getattr(one, "resp", None) is not None:
            return one.resp  # type: ignore[union-attr]
    return None


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status of a fault."""
    answer = _answer(error)
    return None if answer is None else int(answer.status)


def _retry_after_s(error: BaseException) -> float | None:
    return asked_wait_s((_answer(error) or {}).get("retry-after"))


def _text(error: BaseException) -> str:
    """Shorten a message and remove whatever looks like a token or a key."""
    plain = redact(" ".join(str(error).split()))
    return plain[:_LONGEST] or type(error).__name__


def as_ours(error: BaseException, what: str, *, advice: str, opening: bool = False) -> ProviderError:
    """Map an exception of the client to an error of this package."""
    import google.auth.exceptions

    status, text = status_of(error), _text(error)
    if isinstance(error, google.auth.exceptions.GoogleAuthError):
        passing = isinstance(error, google.auth.exceptions.TransportError) or getattr(error, "retryable", False)
        return _later(what, text, None) if passing else AccessError(what, reason=_refusal(text), fix=advice)
    if status is not None:
        return _answered(status, text, what, advice=advice, retry_after_s=_retry_after_s(error))
    if isinstance(error, ConnectionError | TimeoutError):
        return _later(what, text, None)
    if opening and (_LOGIN.search(text) or isinstance(error, OSError | ValueError)):
        return AccessError(what, reason=_refusal(text), fix=advice)
    return _later(what, f"the answer cannot be read: {text}", None)


def _answered(status: int, text: str, what: str, *, advice: str, retry_after_s: float | None) -> ProviderError:
    """Map an HTTP answer to an error of this package."""
    if status in REFUSED_STATUSES:
        return AccessError(what, reason=f"Earth Engine refused ({status}): {text}", fix=advice)
    if _TOO_MUCH.search(text):
        fix = "take shorter frames, fewer bands or coarser pixels"
        return TooMuchError(what, reason=f"it is too much for one request: {text}", fix=fix)
    if status in TRANSIENT_STATUSES:
        return _later(what, f"Earth Engine answered {status}: {text}", retry_after_s)
    fix = "check the collection and the bands; trying again will not help"
    return ProviderError(what, reason=f"Earth Engine answered {status}: {text}", fix=fix)


def _refusal(text: str) -> str:
    return f"no credentials that Earth Engine accepts were found: {text}"


def _later(what: str, reason: str, retry_after_s: float | None) -> TransientError:
    fix = "try again later; the engine does so by itself. If it lasts, lower at_once"
    return TransientError(what, reason=reason, fix=fix, retry_after_s=retry_after_s)


class Transport:
    """Sends the client's requests."""

    listeners: ClassVar[list[Callable[[Mapping[str, str]], None]]] = []
    """Called with the status and headers of each answer, for the live benchmark."""

    def __init__(self, timeout_s: float, connections: int) -> None:
        self.timeout = timeout_s
        self._connections = connections
        self._sessions: dict[str, requests.Session] = {}
        self._lock = threading.Lock()

    def _session(self, uri: str) -> requests.Session:
        """Return the session for a server, whose redirects are judged as its own links are."""
        parts = urlsplit(uri)
        server = f"{parts.scheme}://{parts.netloc}"
        with self._lock:
            if server not in self._sessions:
                self._sessions[server] = requests.Session()
                for scheme in ("http://", "https://"):
                    adapter = JudgedAdapter(server, pool_connections=4, pool_maxsize=self._connections)
                    self._sessions[server].mount(scheme, adapter)
            return self._sessions[server]

    def request(
        self,
        uri: str,
        method: str = "GET",
        body: Any = None,
        **options: Any,
    ) -> tuple[httplib2.Response, bytes]:
        """Send a request as httplib2 does."""
        try:
            # the service is silent while it computes; what it then sends may take as long again, and no longer
            with deadline(2 * self.timeout):
                answer = self._session(uri).request(
                    method, uri, data=body, headers=options.get("headers"), timeout=self.timeout, stream=True
                )
                with answer:
                    content, is_cut = body_of(answer.raw.stream(PIECE_BYTES, decode_content=True), MOST_ANSWER_BYTES)
        except (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError) as error:
            raise TimeoutError(f"no answer within {self.timeout:g} s") from error
        except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError) as error:
            raise ConnectionError(f"the connection failed: {no_connection(error) or type(error).__name__}") from error
        if is_cut:
            raise ValueError(f"it is longer than {MOST_ANSWER_BYTES} bytes")
        headers = {name.lower(): value for name, value in answer.headers.items()}
        for listener in self.listeners:
            listener({**headers, "status": str(answer.status_code)})
        return httplib2.Response(headers | {"status": answer.status_code}), content

    def close(self) -> None:
        """Close the connections that are kept."""
        for session in self._sessions.values():
            session.close()


ENDPOINTS: Final = {
    "standard": "https://earthengine.googleapis.com",
    "high_volume": "https://earthengine-highvolume.googleapis.com",
}
EXTRA: Final = "pip install 'rs-embed-dask[earth_engine]'"
MOST_AT_ONCE: Final = 1000
LOGIN: Final = "run `earthengine authenticate` on the machine that reads, and `earthengine set_project YOUR-PROJECT`"
KINDS: Final = ("user", "application_default", "service_account")
_ADVICE: Final = {
    "user": LOGIN,
    "application_default": "run `gcloud auth application-default login` there, or give the machine a service account",
    "service_account": "pass key_file=, the path of its JSON key on every worker",
}


# the service ends a request after 300 s by itself; a wait that it asks for is honoured up to a quarter of an hour
_RETRY: Final = RetryPolicy(
    attempts=5, first_wait_s=1.0, longest_wait_s=60.0, timeout_s=310.0, longest_asked_s=900.0, deadline_s=3600.0
)


@dataclass(frozen=True)
class EarthAccess(Record):
    """Which account reads, through which address, and how patiently."""

    project: str | None = None
    endpoint: str = "standard"
    credentials: str = "user"
    key_file: str | None = None
    at_once: int = 40
    retry: RetryPolicy = _RETRY

    def __post_init__(self) -> None:
        if self.project is not None:
            text("EarthEngine.project", self.project, fix="give the id of a cloud project, or leave it out")
        if self.endpoint not in ENDPOINTS:
            fix = f"use one of {', '.join(ENDPOINTS)}, or an https address"
            url = plain_address("EarthEngine.endpoint", self.endpoint, fix=fix)
            if not url.startswith("https://") and not is_loopback(url):
                reason = "credentials would travel unencrypted"
                raise SpecError("EarthEngine.endpoint", value=self.endpoint, reason=reason, fix=fix)
        named: object = self.credentials
        if not isinstance(named, str) or not (named in KINDS or ":" in named):
            fix = f"name where workers find them: {', '.join(KINDS)}, or package.module:function"
            reason = "credentials never travel to workers"
            kind = type(self.credentials).__name__
            raise SpecError("EarthEngine.credentials", value=kind, reason=reason, fix=fix)
        if (self.credentials == "service_account") != (self.key_file is not None):
            fix = "give credentials='service_account' and key_file= together"
            raise SpecError(
                "EarthEngine.key_file", value=self.key_file, reason="one was given without the other", fix=fix
            )
        whole("EarthEngine.at_once", self.at_once, low=1, high=MOST_AT_ONCE)
        positive("EarthEngine.retry.timeout_s", self.retry.timeout_s, unit="s")

    @property
    def url(self) -> str:
        """Address of the service."""
        return ENDPOINTS.get(self.endpoint, self.endpoint).rstrip("/")

    @property
    def advice(self) -> str:
        """What to run where credentials are missing or refused."""
        return _ADVICE.get(self.credentials, f"check what {self.credentials} returns")

    @property
    def gate_name(self) -> str:
        """Name under which requests are counted: those of one project share its quota."""
        return f"earth-engine-{self.project or 'default'}-{self.at_once}"


_LOCK: Final = threading.Lock()
_OPEN: Final[list[EarthAccess]] = []


def open_session(access: EarthAccess) -> None:
    """Connect this process to Earth Engine, once; threads that come together wait for the first."""
    # The client library has one session per process: another account or address replaces it.
    if _OPEN[:1] == [access]:
        return
    with _LOCK:
        if _OPEN[:1] == [access]:
            return
        _OPEN.clear()
        _initialize(access)
        _OPEN.append(access)


def credentials_of(access: EarthAccess) -> Any:
    """Find the credentials where this process has them, without asking the service."""
    _need_libraries()
    try:
        return _credentials(access)
    except RsEmbedError:
        raise
    except fault_kinds() as error:
        fault = as_ours(error, "Earth Engine", advice=access.advice, opening=True)
    raise fault


def _need_libraries() -> None:
    try:
        import ee  # noqa: F401 - both are needed to read
        import xee  # noqa: F401
    except ModuleNotFoundError as error:
        raise AccessError("earth_engine", value=error.name, reason="it is not installed", fix=EXTRA) from error


def _initialize(access: EarthAccess) -> None:
    credentials = credentials_of(access)
    import ee
    import ee.deprecation

    try:
        ee.data.setMaxRetries(0)  # one policy: ours
        # else the client fetches a list of outdated assets from public storage, without any deadline
        ee.deprecation.deprecated_assets = ee.deprecation.deprecated_assets or {"": None}  # type: ignore[dict-item]
        ee.Initialize(
            credentials=credentials,
            project=access.project,
            url=access.url,
            http_transport=Transport(access.retry.timeout_s, access.at_once),
        )
    except RsEmbedError:
        raise
    except fault_kinds() as error:
        fault = as_ours(error, "Earth Engine", advice=access.advice, opening=True)
    else:
        return
    raise fault  # out here, for an error's context travels with it when it is pickled, and may hold a token


def _credentials(access: EarthAccess) -> Any:
    """Find the credentials where this process has them."""
    import ee

    scopes = list(ee.oauth.SCOPES)
    if access.credentials == "application_default":
        import google.auth

        return google.auth.default(scopes=scopes)[0]
    if access.credentials == "service_account":
        from google.oauth2 import service_account

        factory: Any = service_account.Credentials
        return factory.from_service_account_file(access.key_file, scopes=scopes)
    if access.credentials == "user":
        return ee.data.get_persistent_credentials()
    return _function(access.credentials)()


def _function(name: str) -> Callable[[], Any]:
    module, _, attribute = name.partition(":")
    try:
        function: Callable[[], Any] = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        fix = "give package.module:function that every worker can import"
        raise SpecError("EarthEngine.credentials", value=name, reason="it cannot be imported", fix=fix) from error
    return function
