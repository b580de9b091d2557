"""Backoff: doubled, jittered, and never shorter than the service asked for."""

from __future__ import annotations

import pytest

from rs_embed_dask.engine.retry import Retry


def test_waits_double_up_to_the_longest():
    retry = Retry(tries=9, first_s=1.0, longest_s=10.0)
    for tries, full in ((1, 1), (2, 2), (3, 4), (4, 8), (5, 10), (9, 10)):
        assert full / 2 <= retry.wait_s(tries, "7/s2") <= full


def test_jitter_spreads_reads_and_is_the_same_everywhere():
    waits = [Retry().wait_s(1, f"{index}/s2") for index in range(100)]
    assert len(set(waits)) == 100
    assert waits[3] == Retry().wait_s(1, "3/s2")
    assert 0.7 < sum(waits) / 100 < 0.8


def test_what_the_service_asks_for_is_honoured_up_to_a_quarter_of_an_hour():
    assert Retry().wait_s(1, "a", 30.0) == 30.0
    assert Retry().wait_s(1, "a", 1e9) == 900.0
    assert Retry().wait_s(1, "a", 0.0) < 1.0


def test_it_survives_json():
    assert Retry.from_json(Retry(3, 0.1, 2.0).to_json()) == Retry(3, 0.1, 2.0)
    assert pytest.approx(0.1) == Retry(3, 0.1, 2.0).first_s
