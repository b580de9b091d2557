"""Links into private buckets, signed where they are read, with the credentials that the process finds there."""

from __future__ import annotations

import functools
import importlib
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from rs_embed_dask.errors import AccessError, ProviderError
from rs_embed_dask.providers.buckets import BucketObject, region_of, what_to_set
from rs_embed_dask.providers.http import Signer

__all__ = ["BucketLinks"]

_LASTS: Final = timedelta(hours=1)
# without credentials the machine's own role is asked for; where there is none, that is soon said
_RETRY: Final = {"max_retries": 1, "retry_timeout": timedelta(seconds=5)}
_CLASSES: Final = {"s3": "S3Store", "gs": "GCSStore"}


@dataclass(frozen=True, slots=True)
class BucketLinks:
    """Signs links into buckets with the credentials of the environment, and leaves all others to `others`."""

    others: Signer

    def sign(self, href: str) -> str:
        """Return a link that can be read for an hour, at the endpoint that the environment names, if it names one."""
        item = BucketObject.at(href)
        if item is None:
            return self.others.sign(href)
        try:
            obstore: Any = importlib.import_module("obstore")
            errors: Any = importlib.import_module("obstore.exceptions")
        except ModuleNotFoundError as error:
            fix = "pip install rs-embed-dask[object-store] on every worker"
            raise AccessError("credentials", value="environment", reason="obstore is missing", fix=fix) from error
        try:
            bucket = _opened(item.scheme, item.bucket, region_of(item.bucket))
            return str(obstore.sign(bucket, "GET", item.key, _LASTS))
        except TypeError:  # a segment of its key is empty, "." or ".."
            reason, fix = "a link to this key cannot be signed", "copy the object to a key without empty parts"
        except errors.BaseError as error:
            _opened.cache_clear()
            reason = f"the environment holds no credentials that can sign ({type(error).__name__})"
            raise AccessError(f"{item.scheme}://{item.bucket}", reason=reason, fix=what_to_set(href)) from None
        raise ProviderError(f"{item.scheme}://{item.bucket}", value=item.key, reason=reason, fix=fix)

    def forget(self, signed: str) -> None:
        """Find the credentials anew for the next link."""
        _opened.cache_clear()
        self.others.forget(signed)

    @property
    def advice(self) -> str:
        """What a user can do when the storage refuses."""
        return self.others.advice


@functools.lru_cache(maxsize=256)
def _opened(scheme: str, bucket: str, region: str) -> Any:
    """Return what signs for one bucket; it reads the environment now and opens no connection."""
    service = getattr(importlib.import_module("obstore.store"), _CLASSES[scheme])
    return service(bucket, retry_config=_RETRY, **({"region": region} if region else {}))
