"""One read: what is tried again, for how long, and what its endings are."""

from __future__ import annotations

import pytest

from rs_embed_dask.engine.reading import read_pixels
from rs_embed_dask.engine.stages import Unit, read_unit
from rs_embed_dask.errors import AccessError, NoImageryError, ProviderError, SpecError, TransientError
from rs_embed_dask.providers.retry import RetryPolicy
from rs_embed_dask.specs import BBox
from rs_embed_dask.store import Item, Status
from tests.engine.fakes import SPAN, Numbers, Places, plan_of


class Scripted(Numbers):
    """A provider that raises what its script says, call by call, then reads."""

    def cube(self, read):
        step = SCRIPT.pop(0) if SCRIPT else None
        if step is not None:
            raise step
        return super().cube(read)


SCRIPT = []


def transient(retry_after_s=None):
    return TransientError("service", value=503, reason="busy", fix="wait", retry_after_s=retry_after_s)


def outcome(*script, tries=4):
    """Read with a script of faults; return the ending and the waits."""
    SCRIPT[:] = script
    plan = plan_of(Places(1), Scripted())
    read = plan.recipe.groups[0].read(plan.items[0].spatial, SPAN)
    waits = []
    retry = RetryPolicy(attempts=tries, first_wait_s=1.0, longest_wait_s=3.0)
    (pixels,) = read_pixels(Scripted(), [read], retry, seed="0", sleep=waits.append)
    return pixels, waits


def test_a_read_that_succeeds():
    pixels, waits = outcome()
    assert (pixels.status, pixels.tries, waits) == (Status.OK, 1, [])
    assert pixels.value.values.shape == (1, 3, 8, 8)


@pytest.mark.parametrize("fault", [transient(), ConnectionResetError("peer"), TimeoutError("slow")])
def test_passing_faults_are_waited_out(fault):
    pixels, waits = outcome(fault, fault)
    assert (pixels.status, pixels.tries) == (Status.OK, 3)
    assert 0.5 <= waits[0] <= 1
    assert 1 <= waits[1] <= 2
    assert type(fault).__name__ in pixels.fault or "503" in pixels.fault


def test_the_service_says_how_long():
    _, waits = outcome(transient(7.5), transient(0.1))
    assert 7.5 <= waits[0] <= 9.0
    assert 1 <= waits[1] <= 2


def test_giving_up_is_marked_as_passing():
    pixels, waits = outcome(*[transient()] * 4)
    assert (pixels.status, pixels.tries, len(waits)) == (Status.READ_FAILED, 4, 3)
    assert str(pixels.error).startswith("transient: numbers: service = 503: busy")


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (NoImageryError("imagery", reason="nothing there", fix="look elsewhere"), Status.NO_DATA),
        (ProviderError("tile", reason="corrupt", fix="none"), Status.READ_FAILED),
        (AccessError("tile", reason="403", fix="log in"), Status.READ_FAILED),
        (SpecError("band", reason="not served", fix="leave it out"), Status.READ_FAILED),
    ],
)
def test_lasting_endings_are_tried_once(fault, status):
    pixels, waits = outcome(fault)
    assert (pixels.status, pixels.tries, waits) == (status, 1, [])
    assert pixels.error is fault


def test_a_providers_own_bug_is_told_as_one():
    pixels, _ = outcome(AttributeError("no attribute 'x'"))
    assert pixels.status == Status.READ_FAILED
    assert "numbers: it raised AttributeError: no attribute 'x'" in str(pixels.error)


def test_a_place_that_no_grid_fits_is_invalid():
    plan = plan_of(Places(1), Numbers())
    wide = Item(0, BBox(-9, 0, 9, 4), SPAN)
    (pixels,) = read_unit(plan.recipe, Unit(0, wide, ("means",)), (0,))
    assert (pixels.status, pixels.value) == (Status.INVALID, None)
    assert "split it" in str(pixels.error)
