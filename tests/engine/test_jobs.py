"""Order of work: lost chunks first, new ones next, suspects alone and last, halves one after the other."""

from __future__ import annotations

import numpy as np

from rs_embed_dask.engine.driver import Job, Jobs


def test_new_chunks_come_in_order_after_what_was_lost():
    jobs = Jobs(np.array([3, 5]))
    first = jobs.take(is_idle=True)
    assert first == Job(3)
    jobs.put(first.again())
    assert jobs.take(is_idle=False) == Job(3, attempt=2, losses=1)
    assert jobs.take(is_idle=False) == Job(5)
    assert jobs.take(is_idle=True) is None


def test_a_suspect_waits_until_nothing_else_is_in_flight():
    jobs = Jobs(np.array([3, 5]))
    jobs.put(jobs.take(is_idle=True).again(is_suspect=True))
    assert jobs.take(is_idle=False) == Job(5)
    assert jobs.take(is_idle=False) is None
    assert jobs.take(is_idle=True) == Job(3, attempt=2, losses=1, is_suspect=True)


def test_halves_follow_each_other_and_the_chunk_ends_once():
    jobs = Jobs(np.array([7]))
    half = jobs.take(is_idle=True).halves((0, 1, 2))
    assert (half.rows, half.rest) == ((0,), ((1, 2),))
    jobs.put(half)
    jobs.finish(jobs.take(is_idle=True))
    assert jobs.left == 1
    second = jobs.take(is_idle=True)
    assert (second.rows, second.rest) == ((1, 2), ())
    quarter = second.halves((1, 2))
    assert (quarter.rows, quarter.rest) == ((1,), ((2,),))
    jobs.finish(quarter)
    jobs.finish(jobs.take(is_idle=True))
    assert jobs.left == 0
    assert jobs.take(is_idle=True) is None


def test_parts_follow_each_other_in_order():
    jobs = Jobs(np.array([7]))
    part = jobs.take(is_idle=True).first(2, (0, 1, 2, 3, 4))
    assert part == Job(7, rows=(0, 1), rest=((2, 3, 4),))
    jobs.finish(part)
    second = jobs.take(is_idle=False)
    assert (second.rows, second.rest, jobs.left) == ((2, 3, 4), (), 1)


def test_halves_of_a_suspect_stay_suspect():
    half = Job(1, is_suspect=True).halves((4, 6))
    assert half.is_suspect
    assert half.next().is_suspect
    assert len({half.attempt, half.next().attempt, 1}) == 3
