"""Who contends for a resource: told once, slowed down, and told from an honest rolling update."""

from __future__ import annotations

from itertools import cycle, islice, pairwise

from devicemgr.core.devices.contention import CALM_PERIOD, MAX_CLAIMANTS, TURN, Claimant, Contention

A, B, C = (Claimant(f"{name}.sock", pid) for pid, name in enumerate("abc", 1))


def told(contention, served, *, every=1.0, start=0.0):
    """What is told of those who serve one after the other, with the number of the take-over."""
    said = {}
    for number, (old, new) in enumerate(pairwise(served), 1):
        if claimants := contention.taken_over(old=old, new=new, now=start + number * every):
            said[number] = claimants
    return said


def test_two_that_come_back_again_and_again_are_told_once():
    assert told(Contention(), islice(cycle([A, B]), 100)) == {4: (A, B)}


def test_three_are_told_too():
    assert told(Contention(), islice(cycle([A, B, C]), 100)) == {5: (A, B, C)}


def test_a_rolling_update_is_neither_told_nor_slowed():
    """The old one comes back once, and the new one takes over once more."""
    contention = Contention()
    assert told(contention, [A, B, A, B], every=0) == {}
    assert contention.pause(now=0) == 0


def test_many_updates_one_after_the_other_are_no_contention():
    contention = Contention()
    assert told(contention, [Claimant("gpu.sock", pid) for pid in range(1000)], every=0.1) == {}
    assert contention.pause(now=100) == 0
    assert len(contention._cut) == MAX_CLAIMANTS


def test_one_that_registers_again_and_again_contends_with_nobody():
    contention = Contention()
    assert told(contention, [A] * 100, every=0) == {}
    assert contention.pause(now=0) == 0


def test_each_keeps_the_resource_for_a_turn():
    contention = Contention()
    told(contention, [A, B, A, B, A], every=0)
    assert contention.pause(now=0) == TURN
    assert contention.pause(now=1) == TURN - 1
    assert contention.pause(now=TURN) == contention.pause(now=TURN + 1) == 0
    contention.taken_over(old=A, new=B, now=TURN + 1)
    assert contention.pause(now=TURN + 1) == TURN


def test_calm_is_a_new_beginning():
    contention = Contention()
    served = [A, B, A, B, A]
    assert told(contention, served) == {4: (A, B)}
    assert told(contention, served, start=CALM_PERIOD + 3) == {}, (
        "it is calm when more than so many seconds have passed"
    )
    assert told(contention, served, start=2 * CALM_PERIOD + 8) == {4: (A, B)}


def test_whoever_serves_after_one_that_has_ended_has_a_turn_as_well():
    contention = Contention()
    told(contention, islice(cycle([A, B]), 5), every=0)
    contention.turn_begins(now=TURN - 1)
    assert contention.pause(now=TURN) == TURN - 1
    calm = Contention()
    calm.turn_begins(now=0)
    assert calm.pause(now=0) == 0, "nobody contends"
