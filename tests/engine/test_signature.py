"""Verbs show every option that they take."""

import inspect

import pytest

import rs_embed_dask as rs
from rs_embed_dask.engine.plan import Sizes
from rs_embed_dask.engine.recipe import READ_RETRY
from rs_embed_dask.engine.request import MapOptions, RequestOptions
from rs_embed_dask.errors import PlanError, UnknownNameError

PLACES = (rs.compute_embeddings, rs.plan, rs.get_embedding, rs.get_embeddings_batch, rs.inspect_input)
MAPS = (rs.compute_map, rs.plan_map)


@pytest.mark.parametrize(
    ("verb", "options"), [*((verb, RequestOptions) for verb in PLACES), *((verb, MapOptions) for verb in MAPS)]
)
def test_signatures_list_every_option_by_keyword_and_hide_none(verb, options):
    shown = inspect.signature(verb).parameters
    assert set(options.__annotations__) <= set(shown)
    assert all(shown[name].kind is inspect.Parameter.KEYWORD_ONLY for name in options.__annotations__)
    assert not [one for one in shown.values() if one.kind is inspect.Parameter.VAR_KEYWORD]


@pytest.mark.parametrize(("verb", "options"), [(rs.get_embedding, RequestOptions), (rs.compute_map, MapOptions)])
def test_docstrings_describe_every_option_once(verb, options):
    for name in options.__annotations__:
        assert verb.__doc__.count(f"\n    {name} : ") == 1
    assert "**options" not in verb.__doc__


def test_an_option_that_is_none_is_as_if_left_out():
    assert Sizes.of({"batch_items": None, "max_side_px": None, "retry": None, "output": "grid"}) == Sizes()
    with pytest.raises(PlanError, match="batch_items = 0"):
        Sizes.of({"batch_items": 0})


def test_retries_of_a_call_keep_what_they_leave_out():
    retry = Sizes.of({"retry": {"attempts": 2}}).retry
    assert (retry.attempts, retry.deadline_s) == (2, READ_RETRY.deadline_s)
    with pytest.raises(UnknownNameError, match="did you mean 'attempts'"):
        Sizes.of({"retry": {"atempts": 2}})
