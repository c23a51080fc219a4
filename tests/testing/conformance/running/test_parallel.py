"""Several instances in parallel: no good plug-in fails because of that, and events name the instance."""

from __future__ import annotations

import sys
from collections import defaultdict
from dataclasses import replace

import pytest
import trio

from devicemgr import Numa
from devicemgr.errors import RpcFailed
from devicemgr.testing.conformance import CHECKS, Command, Verdict, open_bench, run_checks, select
from devicemgr.testing.conformance.running.parallel import OTHERS, WATCHED
from tests.idle_clock import IdleClock, jumping
from tests.testing.conformance.mutants import Answerer, FloodsTheStream, Honest, RegistersInALoop
from tests.testing.conformance.test_every_check_can_fail import TIMING, broken, results_of


@pytest.fixture
def idle_clock():
    return IdleClock(work=5.0)


class OneOfSeveral(Honest):
    """Knows of all that are alive, the newest last."""

    breaks = None
    alive: list[Honest]

    async def _run(self, directory):
        self.alive.append(self)
        try:
            await super()._run(directory)
        finally:
            self.alive.remove(self)


class CannotStartBesideAnother(OneOfSeveral):
    async def start(self, directory):
        if self.alive:
            self.output += "bind: address already in use\n"
            self.run_scope = trio.CancelScope()
            self.ended.set()
            return
        await super().start(directory)


class HasOneLock(OneOfSeveral, Answerer):
    async def answer(self, honest, ids):
        if len(self.alive) > 1:
            raise RpcFailed("locked by another process")
        return await honest(ids)


class TakesTheOldOnesPlace(OneOfSeveral):
    async def start(self, directory):
        for old in self.alive:
            old.run_scope.cancel()
        await super().start(directory)


class SharesWhatChanges(OneOfSeveral):
    """The health of its devices is in one file, whoever's instance it is, and the command breaks and heals in turn."""

    health = "Healthy"

    def prepare(self, plugin):
        plugin.set_health("gpu-3", self.health)

    async def change(self):
        kind = type(self)
        kind.health = "Healthy" if self.health == "Unhealthy" else "Unhealthy"
        for one in self.alive:
            one.plugin.set_health("gpu-3", self.health)


def apart(kind):
    """The same kind with nobody alive yet."""
    return type(kind.__name__, (kind,), {"alive": []})


@pytest.mark.parametrize("kind", [HasOneLock, TakesTheOldOnesPlace])
async def test_a_good_plugin_whose_instances_get_in_each_others_way_passes_all(kind, idle_clock):
    results = await results_of(apart(kind), only=("stream-stays-open", "allocate-answers", "allocate-same", "restart"))
    assert {name: r.evidence for name, r in results.items() if r.verdict is not Verdict.PASSED} == {}


async def test_the_evidence_mentions_a_failure_in_parallel(idle_clock):
    results = await results_of(apart(HasOneLock), only=("stream-silent", "allocate-answers"))
    assert results["allocate-answers"].verdict is Verdict.PASSED
    assert "; when other instances of the plug-in ran in parallel: " in results["allocate-answers"].evidence
    assert "locked by another process" in results["allocate-answers"].evidence


async def test_a_plugin_that_cannot_run_twice_is_checked_all_the_same(idle_clock):
    results = await results_of(apart(CannotStartBesideAnother))
    assert set(broken(results)) <= {"rolling-update"}
    assert [r.evidence for r in results.values() if "in parallel" in r.evidence] == []


@pytest.mark.parametrize("kind", [FloodsTheStream, RegistersInALoop])
async def test_a_failure_in_parallel_is_watched_once_more_alone(kind, idle_clock):
    began = trio.current_time()
    results = await results_of(kind, only=(kind.breaks, "pre-start"))
    assert list(broken(results)) == [kind.breaks]
    assert trio.current_time() - began > 2 * TIMING.quiet_period
    assert results["pre-start"].verdict is Verdict.PASSED


async def test_the_events_of_the_quiet_period_are_the_evidence_of_each_check_that_watched(idle_clock):
    results = await results_of(Honest, only=(*WATCHED, "allocate-answers"))
    for name in WATCHED:
        assert results[name].calls == ("+0.000 s ListAndWatch: a list of 5 devices",)
    assert all("Allocate" in call for call in results["allocate-answers"].calls)


async def test_a_change_for_another_instance_is_not_held_against_the_first(idle_clock):
    results = await results_of(apart(SharesWhatChanges), only=(*WATCHED, "changes-arrive"))
    assert {name: r.evidence for name, r in results.items() if r.verdict is not Verdict.PASSED} == {}
    assert [r.evidence for r in results.values() if "in parallel" in r.evidence] == []
    for name in ("registers-once", "stream-silent"):
        assert " with something new (--change was run for another instance meanwhile" in results[name].evidence


async def test_events_tell_which_instance_they_are_about(idle_clock):
    events = []
    async with jumping() as nursery:
        how = {"timing": TIMING, "numa": Numa(nodes=(0, 1)), "sinks": [events.append]}
        async with open_bench(Honest(nursery), **how) as bench:
            results = await run_checks(bench, select(["stream-silent", "allocate-answers", "wiped", "kill-restart"]))
    assert [result.check for result in results] == ["stream-silent", "allocate-answers", "wiped", "kill-restart"]
    checks = defaultdict(set)
    for event in events:
        checks[event.as_json()["instance"]].add(event.check)
    assert set(checks) == {1, 2, 3}
    assert "stream-silent" in checks[1]
    assert checks[2] >= {"allocate-answers", "kill-restart"}
    assert checks[3] >= {"restart", "wiped"}


class LeaksAtEachEighth(Honest):
    @property
    def open_descriptors(self):
        return 7 + self.registrations // 8


async def test_a_slow_leak_takes_all_restarts_and_none_takes_few(idle_clock):
    timing = replace(TIMING, restarts=50)
    assert "after 20 restarts" in (await results_of(Honest, timing, ("descriptors",)))["descriptors"].evidence
    leaks = (await results_of(LeaksAtEachEighth, timing, ("descriptors",)))["descriptors"]
    assert (leaks.verdict, "more after 50 restarts" in leaks.evidence) == (Verdict.FAILED, True)


def test_every_slow_check_has_a_group():
    named = [*WATCHED, *(name for group in OTHERS for name in group)]
    assert len(named) == len(set(named))
    assert set(named) <= set(CHECKS)
    from_the_first_list = {
        *("registers", "api-version", "resource-name", "endpoint-name", "serves-first", "options", "first-list"),
        *("ids-unique", "ids-valid", "health-valid", "numa-plausible", "message-size"),
        "lists-complete",  # changes what others may see
    }
    assert set(CHECKS) - set(named) == from_the_first_list


async def test_killing_one_instance_does_not_kill_another(tmp_path):
    """Though whatever a program lets go of becomes our child, as they are."""
    first = Command([sys.executable, "-c", "import time; time.sleep(60)"], adopt=True)
    await first.start(tmp_path)
    second = first.new_instance()
    await second.start(tmp_path)
    await first.kill()
    assert (first.is_running, second.is_running) == (False, True)
    await second.kill()
    assert not second.is_running


async def test_a_program_with_a_detached_process_has_no_second_instance(tmp_path):
    command = Command(["sh", "-c", "setsid -f sleep 60; sleep 60"], adopt=True)
    await command.start(tmp_path)
    with trio.fail_after(20):
        while command.new_instance() is not None:  # noqa: ASYNC110 - a process has no event
            await trio.sleep(0.02)
    await command.kill()
