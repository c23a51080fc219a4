"""Plug-ins that contend for a resource are reported once and slowed down; a rolling update is not."""

from __future__ import annotations

from itertools import cycle, islice, pairwise

from devicemgr.core.devices.contention import CALM_PERIOD, MAX_CLAIMANTS, TURN, Claimant, Contention

A, B, C = (Claimant(f"{name}.sock", pid) for pid, name in enumerate("abc", 1))


def reported(contention, served, *, every=1.0, start=0.0):
    """What is reported when these plug-ins serve one after the other, by the number of the replacement."""
    said = {}
    for number, (old, new) in enumerate(pairwise(served), 1):
        if claimants := contention.taken_over(old=old, new=new, now=start + number * every):
            said[number] = claimants
    return said


def test_two_plugins_that_come_back_again_and_again_are_reported_once():
    assert reported(Contention(), islice(cycle([A, B]), 100)) == {4: (A, B)}


def test_three_plugins_are_reported_too():
    assert reported(Contention(), islice(cycle([A, B, C]), 100)) == {5: (A, B, C)}


def test_a_rolling_update_is_neither_reported_nor_slowed():
    """The old plug-in comes back once, and the new one replaces it once more."""
    contention = Contention()
    assert reported(contention, [A, B, A, B], every=0) == {}
    assert contention.pause(now=0) == 0


def test_many_updates_one_after_the_other_are_not_contention():
    contention = Contention()
    assert reported(contention, [Claimant("gpu.sock", pid) for pid in range(1000)], every=0.1) == {}
    assert contention.pause(now=100) == 0


def test_a_limited_number_of_plugins_is_remembered():
    """A process id is another plug-in, and there are many."""
    remembered = [Claimant("gpu.sock", pid) for pid in range(MAX_CLAIMANTS + 1)]
    (claimants,) = reported(Contention(), islice(cycle(remembered), 100), every=0.1).values()
    assert claimants == tuple(remembered)
    too_many = [*remembered, A]
    assert reported(Contention(), islice(cycle(too_many), 100), every=0.1) == {}


def test_a_plugin_that_registers_again_and_again_does_not_contend_with_itself():
    contention = Contention()
    assert reported(contention, [A] * 100, every=0) == {}
    assert contention.pause(now=0) == 0


def test_each_keeps_the_resource_for_a_turn():
    contention = Contention()
    reported(contention, [A, B, A, B, A], every=0)
    assert contention.pause(now=0) == TURN
    assert contention.pause(now=1) == TURN - 1
    assert contention.pause(now=TURN) == contention.pause(now=TURN + 1) == 0
    contention.taken_over(old=A, new=B, now=TURN + 1)
    assert contention.pause(now=TURN + 1) == TURN


def test_after_a_calm_period_counting_starts_again():
    contention = Contention()
    served = [A, B, A, B, A]
    assert reported(contention, served) == {4: (A, B)}
    assert reported(contention, served, start=CALM_PERIOD + 3) == {}, (
        "it is calm when more than so many seconds have passed"
    )
    assert reported(contention, served, start=2 * CALM_PERIOD + 8) == {4: (A, B)}


def test_the_successor_of_a_plugin_that_has_ended_has_a_turn_as_well():
    contention = Contention()
    reported(contention, islice(cycle([A, B]), 5), every=0)
    contention.turn_begins(now=TURN - 1)
    assert contention.pause(now=TURN) == TURN - 1
    calm = Contention()
    calm.turn_begins(now=0)
    assert calm.pause(now=0) == 0, "nobody contends"
