"""Whether a provider works from here: its host, its credentials, one search and one block, each a row with a reason."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import numpy as np

from rs_embed_dask.errors import RsEmbedError, redact
from rs_embed_dask.imagery.cube import Read
from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.imagery.grid import grid_for
from rs_embed_dask.imagery.sensors import sensor as sensor_named
from rs_embed_dask.providers.reach import PROBE, reach, services_of
from rs_embed_dask.providers.registry import Check, ChecksItself, load
from rs_embed_dask.providers.retry import deadline
from rs_embed_dask.show.tables import counted
from rs_embed_dask.specs import PointBuffer
from rs_embed_dask.specs.fetch import FetchSpec

if TYPE_CHECKING:
    from rs_embed_dask.imagery.scenes import Scene
    from rs_embed_dask.providers.http import Signer
    from rs_embed_dask.providers.registry import Provider

__all__ = ["NOTHING_LOCAL", "ServiceQuestion", "Trial", "ask_all", "checkup", "host_questions"]

_SIDE_PX: Final = 16
_JUNE: Final = Span(dt.date(2022, 6, 1), dt.date(2022, 7, 1))
_LONGEST_S: Final = 30.0
_LEAVE_S: Final = 5.0
_FAULTS: Final = (OSError, ValueError, LookupError, RuntimeError, ArithmeticError, TypeError, AttributeError)
_TO_SIGN: Final = ("https://sentinel2l2a01.blob.core.windows.net/sentinel2-l2/doctor", "s3://sentinel-cogs/doctor")
"""Links of the kinds that signers sign; each leaves the others as they are."""


NOTHING_LOCAL: Final = Check("what works without a network?", "nothing that can be checked; leave --local out")


@dataclass(frozen=True)
class Trial:
    """Where, when and of which sensor a search and a block are tried; by default what most catalogues have."""

    lon: float = 4.35
    lat: float = 50.85
    span: Span = _JUNE
    sensor: str | None = None
    band: str | None = None

    def __str__(self) -> str:
        return f"at {self.lon:.4f}, {self.lat:.4f} from {self.span.start} to {self.span.end}"

    def read_of(self, provider: Provider) -> Read:
        """Return a small read of one band."""
        served = sorted(provider.sensors())
        usual = "sentinel-2-l2a" if "sentinel-2-l2a" in served else served[0]
        of = sensor_named(self.sensor or usual)
        place = PointBuffer(self.lon, self.lat, _SIDE_PX / 2 * of.resolution_m)
        band = self.band or ("red" if "red" in of.band_names else of.band_names[0])
        return Read(grid_for(place, of.resolution_m), of.id, (band,), (self.span,), FetchSpec(mask="none"))


@dataclass(frozen=True)
class ServiceQuestion:
    """What is asked, and what answers it: whether it is well, None where that is not known, and the answer."""

    text: str
    answer: Callable[[], tuple[bool | None, str]]


def checkup(provider: Any, *, live: bool, trial: Trial | None = None) -> list[Check]:
    """Let a provider check what it can here, and if `live` ask its service too, each question for half a minute."""
    own = provider.checks(live=False) if isinstance(provider, ChecksItself) else []
    if not live:
        return own or [NOTHING_LOCAL]
    checks = [*own, *ask_all(host_questions(provider))]
    return [*checks, *ask_all([*_token(provider), *_pixels(provider, trial)], after=checks)]


def ask_all(questions: Iterable[ServiceQuestion], after: Sequence[Check] = ()) -> list[Check]:
    """Ask one after the other, as long as all answers are well, those of earlier checks included."""
    checks: list[Check] = []
    for question in questions:
        if any(check.is_well is False for check in (*after, *checks)):
            checks.append(Check(question.text, "not asked, for a check before it failed"))
        else:
            is_well, answer = _asked(question)
            checks.append(Check(question.text, answer, is_well))
    return checks


def _asked(question: ServiceQuestion) -> tuple[bool | None, str]:
    def bounded() -> tuple[bool | None, str]:
        with deadline(_LONGEST_S):
            return question.answer()

    pool = ThreadPoolExecutor(1, thread_name_prefix="rs-doctor")
    try:
        return pool.submit(bounded).result(_LONGEST_S + _LEAVE_S)
    except TimeoutError:
        return False, f"no: it takes longer than {_LONGEST_S:g} s"
    except RsEmbedError as error:
        return False, f"no: {error}"
    except _FAULTS as error:
        return False, f"no: {redact(f'{type(error).__name__}: {error}')}"
    finally:
        pool.shutdown(wait=False)


def host_questions(source: object) -> Iterable[ServiceQuestion]:
    """Ask whether the hosts of a provider or product can be reached."""

    def answer(host: str) -> tuple[bool, str]:
        why = reach(host, 4 * PROBE.timeout_s)
        return not why, f"no: {why}; check network, proxy and address" if why else "yes"

    hosts = services_of(source)
    for host in hosts:
        yield ServiceQuestion(f"is the host reached ({host})?", partial(answer, host))
    if not hosts:
        yield ServiceQuestion("is the host reached?", lambda: (True, "none is needed"))


def _token(provider: Any) -> Iterable[ServiceQuestion]:
    """Ask for one token, as each link to a file needs."""

    def answer() -> tuple[bool, str]:
        if isinstance(provider, ChecksItself):  # whose own checks say that credentials are here
            last = provider.checks(live=True)[-1]
            return last.is_well is not False, last.answer
        signer: Signer | None = getattr(getattr(provider, "access", None), "signer", None)
        links = () if signer is None else (*_TO_SIGN, str(getattr(provider, "url", "")))
        signed = [link for link in links if signer is not None and signer.sign(link) != link]
        return True, f"yes: for {urlsplit(signed[0]).hostname}" if signed else "none is needed"

    yield ServiceQuestion("one token", answer)


def _pixels(provider: Provider, trial: Trial | None) -> Iterable[ServiceQuestion]:
    """Ask for one search, and for one block of what it lists."""
    reads: list[tuple[Read, Scene]] = []

    def search() -> tuple[bool, str]:
        where: Trial = getattr(provider, "trial", Trial()) if trial is None else trial
        one = where.read_of(provider)
        scenes = provider.search(one.sensor, one.grid, one.span, fetch=one.fetch)
        reads.extend((one, scene) for scene in scenes[:1])
        return True, f"yes: {counted(len(scenes), 'scene')} of {one.sensor} {where}"

    def block() -> tuple[bool | None, str]:
        if not reads:
            return None, "not asked, for there is no scene; name a place and time with --at, --start and --end"
        (one, scene), *_ = reads
        day = scene.datetime.date()
        frame = Span(day, day + dt.timedelta(days=1))
        cube = load(provider, Read(one.grid, one.sensor, one.bands, (frame,), one.fetch))
        share = float(np.isfinite(cube.values).mean())
        rows, columns = one.grid.shape
        return True, f"yes: {rows} x {columns} px of {one.bands[0]} of {day}, {share:.0%} with data"

    yield ServiceQuestion("one search", search)
    yield ServiceQuestion("one block", block)
