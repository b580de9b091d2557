"""What may be said of an object store beside its URL: options that travel with a store's place, so none is a secret."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from importlib import import_module
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

from rs_embed_dask.errors import StoreError, UnknownNameError

__all__ = ["OBJECT_SCHEMES", "ServiceOptions", "StorageOptions", "check_address", "open_service", "service_options"]

StorageOptions: TypeAlias = "Mapping[str, str | bool | int | float]"
"""Options of an object store by their names in obstore."""

ServiceOptions: TypeAlias = "tuple[tuple[str, str | bool | int | float], ...]"
"""The same, as a value that can be compared and sent."""

# Stated here because obstore's own ten attempts are over after two seconds: these last for half a minute.
_BACKOFF: Final = {"init_backoff": timedelta(seconds=0.5), "base": 3, "max_backoff": timedelta(seconds=15)}
_RETRY: Final[dict[str, Any]] = {"max_retries": 12, "backoff": _BACKOFF}

_CLIENT: Final = frozenset(
    {"allow_http", "allow_invalid_certificates", "connect_timeout", "proxy_url", "read_timeout", "timeout"}
)
# Not `conditional_put`, which could switch off what keeps two writers apart.
_S3: Final = frozenset(
    {
        *("region", "endpoint", "virtual_hosted_style_request", "skip_signature", "request_payer", "unsigned_payload"),
        *("role_arn", "server_side_encryption", "sse_bucket_key_enabled", "sse_kms_key_id", "disable_bulk_delete"),
    }
)
_GOOGLE: Final = frozenset({"base_url", "skip_signature"})
_AZURE: Final = frozenset(
    {"account_name", "authority_host", "endpoint", "skip_signature", "tenant_id", "use_azure_cli", "use_emulator"}
)
_OPTIONS: Final = {
    **dict.fromkeys(("s3", "s3a"), _S3),
    "gs": _GOOGLE,
    **dict.fromkeys(("az", "azure", "abfs", "abfss", "adl"), _AZURE),
}

OBJECT_SCHEMES: Final = frozenset(_OPTIONS)
"""Services with conditional writes, which obstore speaks to."""

_SECRET: Final = re.compile("access_key|account_key|service_account|secret|token|password|credential|^sas|bearer")
_WHERE: Final = "set credentials in the environment of each process (AWS_..., GOOGLE_..., AZURE_...); see docs/store.md"


def service_options(url: str, given: object) -> ServiceOptions:
    """Check the options of an object store. Raises StoreError and UnknownNameError."""
    if given is None:
        return ()
    if not isinstance(given, Mapping):
        fix = 'give a dictionary such as {"region": "eu-central-1"}'
        raise StoreError("storage_options", value=type(given).__name__, reason="it is not a dictionary", fix=fix)
    options, scheme = {str(name).lower(): value for name, value in given.items()}, urlsplit(url).scheme
    accepted = _OPTIONS.get(scheme, frozenset())
    for name, value in options.items():
        _check_option(name, value, scheme, accepted=accepted)
    return tuple(sorted(options.items()))


def _check_option(name: str, value: object, scheme: str, *, accepted: frozenset[str]) -> None:
    """Refuse what is secret, unknown or no value; none of the messages holds a value that may be secret."""
    what = f"storage_options[{name!r}]"
    if _SECRET.search(name):
        reason = "it is a credential, which would travel in graphs"
        raise StoreError(what, value="...", reason=reason, fix=_WHERE)
    if not accepted:
        fix = "leave storage_options out; a file system of fsspec is set up by its own configuration"
        raise StoreError(what, value=scheme or "a path", reason="only object stores have such options", fix=fix)
    if name not in accepted | _CLIENT:
        raise UnknownNameError.among(f"option of {scheme}://", name, sorted(accepted | _CLIENT))
    if not isinstance(value, str | bool | int | float):
        reason = "it is not a text, a number, True or False"
        raise StoreError(what, value=type(value).__name__, reason=reason, fix="give one of these")
    if isinstance(value, str) and "://" in value:
        check_address(value, what)


def check_address(url: str, what: str = "") -> None:
    """Refuse an address with a password or a key, which would travel in graphs and stand in messages."""
    parts = urlsplit(url)
    is_service = bool(what) or parts.scheme in OBJECT_SCHEMES
    # In abfs://container@account.dfs.core.windows.net the name before the host is that of a container.
    is_named = is_service and parts.username is not None and not parts.scheme.startswith("abfs")
    is_asking = is_service and parts.query
    secret = "a password" if parts.password else "a query" if is_asking else "a user name" if is_named else ""
    if secret:
        raise StoreError(
            what or "store target", value=url, reason=f"an address here must not have {secret}", fix=_WHERE
        )


def open_service(url: str, options: ServiceOptions) -> Any:
    """Open an object store; credentials come from the environment of each process, never from URL or options."""
    # Numbers become texts, for obstore takes none.
    told = {name: value if isinstance(value, bool) else f"{value}" for name, value in options}
    client = {name: told.pop(name) for name in _CLIENT & told.keys()}
    # Only where some are given: options of the client replace those of the environment (AWS_ALLOW_HTTP and the like).
    more = {"client_options": client} if client else {}
    return import_module("obstore.store").from_url(url, config=told, retry_config=_RETRY, **more)
