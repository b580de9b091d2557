"""Which ranges are asked for: by what a request to a server takes, and how quickly its answers come."""

from __future__ import annotations

import threading

import pytest

from rs_embed_dask.providers.ranges import LEAST_GAP, MOST_GAP, Paces, at_once, runs


@pytest.mark.parametrize(
    ("wait_s", "bytes_per_s", "expected"),
    [(0.01, 20e6, 200_000), (0.001, 20e6, LEAST_GAP), (0.2, 100e6, MOST_GAP)],
    ids=["as long as a request", "a near server", "a far and wide one"],
)
def test_a_gap_is_read_that_takes_no_longer_than_a_request(wait_s, bytes_per_s, expected):
    paces = Paces()
    for _ in range(3):
        paces.note("a.example", wait_s=wait_s, body_s=500_000 / bytes_per_s, n_bytes=500_000)
    assert paces.gap("a.example") == pytest.approx(expected, rel=1e-6)
    assert paces.gap("b.example") == LEAST_GAP  # each server is measured by itself


def test_the_newest_answers_count_most_and_short_ones_not():
    paces = Paces()
    paces.note("a", wait_s=0.02, body_s=0.1, n_bytes=1_000_000)
    assert paces.gap("a") == 200_000
    paces.note("a", wait_s=0.02, body_s=1e-9, n_bytes=1000)
    assert paces.gap("a") == 200_000
    paces.note("a", wait_s=0.036, body_s=0.1, n_bytes=1_000_000)
    assert paces.gap("a") == pytest.approx(202_500, abs=1)  # a longer wait may be that of a busy moment
    paces.note("a", wait_s=0.01, body_s=0.1, n_bytes=1_000_000)
    assert paces.gap("a") == 100_000
    paces.note("a", wait_s=0.01, body_s=0.1, n_bytes=1_800_000)
    assert paces.gap("a") == pytest.approx(110_000, abs=1)  # an eighth of the way


def test_runs_are_joined_over_gaps_up_to_the_limit():
    blocks = [(0, 100), (600, 100), (1201, 100)]
    assert runs(blocks, [], 500) == [(0, 700), (1201, 1301)]
    assert runs(blocks, [], 501) == [(0, 1301)]
    assert runs(blocks, [(590, 700)], 500) == [(0, 100), (1201, 1301)]


def test_ranges_are_fetched_side_by_side_in_order():
    together = threading.Barrier(2, timeout=10)

    def fetch(run):
        together.wait()
        return run

    assert at_once(fetch, [(0, 1), (5, 6)]) == [(0, 1), (5, 6)]
    assert at_once(lambda run: threading.current_thread(), [(0, 1)]) == [threading.current_thread()]
