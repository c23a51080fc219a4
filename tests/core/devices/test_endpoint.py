"""The life of an endpoint. ``tests/test_pictures.py`` compares its diagrams in the README and the book."""

from __future__ import annotations

from itertools import product

import pytest

from devicemgr.core.devices.endpoint import TRANSITIONS, Endpoint, IllegalTransition, State, Trigger
from devicemgr.core.devices.store import DeviceStore


@pytest.mark.parametrize(("state", "trigger"), sorted(set(product(State, Trigger)) - TRANSITIONS.keys(), key=str))
def test_what_the_table_does_not_have_is_an_error_and_changes_nothing(state, trigger):
    one = Endpoint(resource="vendor.com/gpu", generation=7, socket="a.sock", state=state)
    with pytest.raises(
        IllegalTransition, match=f"generation 7 of vendor.com/gpu: '{trigger.value}' while {state.value}"
    ):
        one.advance(trigger)
    assert one.state is state


def test_every_state_is_reached_and_only_the_last_one_is_final():
    first, *others = State
    assert {first, *TRANSITIONS.values()} == set(State)
    assert {state for state, _ in TRANSITIONS} == {first, *others[:-1]}


def test_stopping_twice_keeps_the_first_stop_time():
    store, one = DeviceStore(), Endpoint(resource="vendor.com/gpu", generation=1, socket="a.sock")
    store.connect(one)
    for now in (5, 9):
        store.stop_endpoint("vendor.com/gpu", 1, reason="gone", now=now)
        assert (one.state, one.stopped_at) == (State.STOPPED, 5)


def test_the_grace_period_must_have_passed_strictly():
    """LW-11."""
    one = Endpoint(resource="vendor.com/gpu", generation=1, socket="a.sock", state=State.SERVING)
    assert not one.is_expired(now=10_000)
    one.stop(now=50)
    assert not one.is_expired(now=350)
    assert one.is_expired(now=350.001)


def test_connecting_an_endpoint_that_is_not_new_changes_nothing():
    """The endpoint that serves is not replaced."""
    store = DeviceStore()
    serving, stopped = (
        Endpoint(resource="vendor.com/gpu", generation=n, socket="a.sock", state=state)
        for n, state in ((1, State.CONNECTING), (2, State.STOPPED))
    )
    store.connect(serving)
    with pytest.raises(IllegalTransition):
        store.connect(stopped)
    assert (store.endpoint("vendor.com/gpu"), serving.state) == (serving, State.SERVING)
