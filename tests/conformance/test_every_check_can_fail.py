"""Every check can fail, and fails alone: a plug-in with one fault fails exactly the check that is about it."""

from __future__ import annotations

import pytest
import trio

from devicemgr import Numa
from devicemgr.testing.conformance import CHECKS, Skipped, Timing, Verdict, open_bench, run_checks, select
from tests.fast_clock import FastClock

from .mutants import (
    FailsToAllocateItsSecond,
    Found,
    HasASecondResource,
    Honest,
    NeverComesBack,
    PanicsAtAChange,
    RegistersOneAfterTheOther,
    all_mutants,
)

TIMING = Timing(patience=40, prompt=10, restarts=6, restarting=300)


MUTANTS = all_mutants()  # before any test makes one more


@pytest.fixture
def fast_clock():
    return FastClock()  # which is how pytest-trio finds out


async def results_of(kind, **options):
    async with trio.open_nursery() as nursery:
        async with open_bench(kind(nursery), timing=TIMING, numa=Numa(nodes=(0, 1)), **options) as bench:
            return {result.check: result for result in await run_checks(bench, select())}


async def test_an_honest_plugin_passes_all(fast_clock):
    results = await results_of(Honest)
    assert {name: r.evidence for name, r in results.items() if r.verdict is not Verdict.PASSED} == {}
    assert list(results) == list(CHECKS)


async def test_one_that_is_found_in_plugins_registry_is_checked_like_any_other(fast_clock):
    results = await results_of(Found)
    assert {name: r.evidence for name, r in results.items() if r.verdict is not Verdict.PASSED} == {
        "wiped": "the plug-in was found in plugins_registry, where the kubelet deletes nothing"
    }


async def test_what_was_not_seen_for_want_of_a_change_is_told(fast_clock):
    class NobodySaidHow(Honest):
        async def change(self):
            raise Skipped("nobody said how")

    result = (await results_of(NobodySaidHow))["changes-arrive"]
    assert result.verdict is Verdict.SKIPPED
    assert (
        "so it was not seen whether a change still arrives after a restart of the manager, the del" in result.evidence
    )


async def test_a_change_that_can_be_made_once_only_proves_nothing(fast_clock):
    class ChangesOnce(Honest):
        async def change(self):
            if self.plugin.devices == self.devices:
                await super().change()

    result = (await results_of(ChangesOnce))["changes-arrive"]
    assert result.verdict is Verdict.SKIPPED
    assert "make it one that changes something each time" in result.evidence


async def test_where_it_ended_at_a_change_is_told(fast_clock):
    result = (await results_of(PanicsAtAChange))["changes-arrive"]
    assert result.evidence.startswith(
        "at a change after a restart of the manager: the plug-in has ended, with exit status 2"
    )


@pytest.mark.parametrize("kind", [HasASecondResource, RegistersOneAfterTheOther])
@pytest.mark.parametrize("resource", [None, "vendor.com/gpu"])
async def test_one_with_two_resources_is_disturbed_only_when_both_are_back(fast_clock, kind, resource):
    results = await results_of(kind, resource=resource)
    assert {name: r.evidence for name, r in results.items() if r.verdict is not Verdict.PASSED} == {}
    assert ("vendor.com/gpu: 5 devices" in results["first-list"].evidence) == (resource is None)
    assert ("vendor.com/nic: 5 devices" in results["first-list"].evidence) == (resource is None)


async def test_what_one_resource_fails_is_still_checked_of_the_other(fast_clock):
    results = await results_of(FailsToAllocateItsSecond)
    assert results["allocate-answers"].evidence.startswith("vendor.com/nic: Allocate [gpu-0] was answered with")
    concurrent = results["allocate-concurrent"]
    assert concurrent.verdict is Verdict.PASSED
    assert concurrent.evidence.endswith("; not made for vendor.com/nic, which did not pass allocate-answers")
    first_alone = await results_of(FailsToAllocateItsSecond, resource="vendor.com/gpu")
    assert first_alone["allocate-answers"].verdict is Verdict.PASSED


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.breaks}-{mutant.__name__}")
async def test_a_plugin_with_one_fault_fails_exactly_that_check(mutant, fast_clock):
    results = await results_of(mutant)
    failed = {name: r.evidence for name, r in results.items() if r.verdict is Verdict.FAILED}
    assert list(failed) == [mutant.breaks], failed
    for result in results.values():
        if result.verdict is Verdict.SKIPPED and not result.evidence.startswith("nobody said how"):
            assert mutant.breaks in needs_of(result.check), f"{result.check}: {result.evidence}"


def needs_of(name):
    """What a check needs, directly or not; and what it is itself about."""
    direct = CHECKS[name].needs
    return {*direct, *(more for one in direct for more in needs_of(one))}


def test_no_check_is_without_a_mutant():
    assert {mutant.breaks for mutant in MUTANTS} == set(CHECKS)


async def test_where_the_hardware_is_missing_what_needs_none_is_checked(fast_clock):
    """In CI there is none: an empty list is a list, and most plug-ins that do not come back have no devices either."""

    class Empty(Honest):
        devices = ()

    class EmptyAndLost(NeverComesBack):
        devices = ()

    results = await results_of(Empty)
    assert not [r for r in results.values() if r.verdict is Verdict.FAILED]
    for name in ("first-list", "restart", "wiped", "away", "descriptors", "kill-restart", "sigterm-ends"):
        assert results[name].verdict is Verdict.PASSED
    assert (await results_of(EmptyAndLost))["restart"].verdict is Verdict.FAILED
