"""How a process reaches Earth Engine: which account, which address, how long it waits. Holds no secret.

Credentials are found by each process itself, once, in the place that the user named. What travels in graphs, pickles
and stores is that name.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from rs_embed_dask.checks import positive, text, whole
from rs_embed_dask.errors import AccessError, RsEmbedError, SpecError
from rs_embed_dask.providers.earth_engine_faults import as_ours, fault_kinds
from rs_embed_dask.providers.ranges import Patience
from rs_embed_dask.record import Record

__all__ = ["ENDPOINTS", "EXTRA", "EarthAccess", "credentials_of", "forget_sessions", "open_session"]

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


@dataclass(frozen=True)
class EarthAccess(Record):
    """Which account reads, through which address, and how patiently.

    Parameters
    ----------
    project : str, optional
        Cloud project that is charged. Default: the one that ``earthengine set_project`` stored, or the service
        account's own.
    endpoint : str
        ``standard``, ``high_volume``, or an address.
    credentials : str
        ``user`` (what ``earthengine authenticate`` stored, else the application's default), ``application_default``,
        ``service_account``, or ``package.module:function`` for a function that returns google-auth credentials.
    key_file : str, optional
        Where each worker has the service account's key.
    at_once : int
        Most requests in flight over all processes.
    patience : Patience
        How faults are borne; its ``timeout_s`` is the deadline of a request.

    Raises
    ------
    SpecError
        If a value cannot be used.
    """

    project: str | None = None
    endpoint: str = "standard"
    credentials: str = "user"
    key_file: str | None = None
    at_once: int = 40
    patience: Patience = field(default_factory=lambda: Patience(5, 1.0, 60.0, 310.0))

    def __post_init__(self) -> None:
        if self.project is not None:
            text("EarthEngine.project", self.project, fix="give the id of a cloud project, or leave it out")
        if self.endpoint not in ENDPOINTS and not str(self.endpoint).startswith(("http://", "https://")):
            fix = f"use one of {', '.join(ENDPOINTS)}, or an http(s) address"
            raise SpecError("EarthEngine.endpoint", value=self.endpoint, reason="it is no address", fix=fix)
        named: object = self.credentials
        if not isinstance(named, str) or not (named in KINDS or ":" in named):
            fix = f"name where workers find them: {', '.join(KINDS)}, or package.module:function"
            reason = "credentials never travel to workers"
            kind = type(self.credentials).__name__
            raise SpecError("EarthEngine.credentials", value=kind, reason=reason, fix=fix)
        if (self.credentials == "service_account") != (self.key_file is not None):
            fix = "give credentials='service_account' and key_file= together"
            raise SpecError("EarthEngine.key_file", value=self.key_file, reason="one is there alone", fix=fix)
        whole("EarthEngine.at_once", self.at_once, low=1, high=MOST_AT_ONCE)
        positive("EarthEngine.patience.timeout_s", self.patience.timeout_s, unit="s")

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
    """Connect this process to Earth Engine, once; threads that come together wait for the first.

    The client library has one session a process: another account or address replaces it.

    Parameters
    ----------
    access : EarthAccess
        Which account and address.

    Raises
    ------
    AccessError
        If the libraries or the credentials are missing, or the service refuses them; says what to run.
    TransientError, ProviderError
        If the service is out of order.
    """
    if _OPEN[:1] == [access]:
        return
    with _LOCK:
        if _OPEN[:1] == [access]:
            return
        _OPEN.clear()
        _initialize(access)
        _OPEN.append(access)


def forget_sessions() -> None:
    """Forget the session, as a new process has none."""
    with _LOCK:
        _OPEN.clear()


def credentials_of(access: EarthAccess) -> Any:
    """Find the credentials where this process has them, without asking the service.

    Parameters
    ----------
    access : EarthAccess
        Where to look.

    Returns
    -------
    google.auth.credentials.Credentials
        Not to be sent, written or shown.

    Raises
    ------
    AccessError
        If a library or the credentials are missing.
    """
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
    held = credentials_of(access)
    import ee
    import ee.deprecation

    from rs_embed_dask.providers.earth_engine_http import Transport

    try:
        ee.data.setMaxRetries(0)  # one policy: ours
        # else the client fetches a list of outdated assets from public storage, without any deadline
        ee.deprecation.deprecated_assets = ee.deprecation.deprecated_assets or {"": None}  # type: ignore[dict-item]
        ee.Initialize(
            credentials=held,
            project=access.project,
            url=access.url,
            http_transport=Transport(access.patience.timeout_s, access.at_once),
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

        held: Any = service_account.Credentials
        return held.from_service_account_file(access.key_file, scopes=scopes)
    if access.credentials == "user":
        return ee.data.get_persistent_credentials()
    return _function(access.credentials)()


def _function(name: str) -> Callable[[], Any]:
    module, _, attribute = name.partition(":")
    try:
        found: Callable[[], Any] = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        fix = "give package.module:function that every worker can import"
        raise SpecError("EarthEngine.credentials", value=name, reason="it cannot be imported", fix=fix) from error
    return found
