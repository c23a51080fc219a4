"""Every check can fail, and fails alone: a plug-in with one fault fails exactly the check that is about it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio

from devicemgr import Numa
from devicemgr.errors import RpcFailed
from devicemgr.events import PluginRegistered
from devicemgr.model import Device, RunOptions
from devicemgr.rules.book import sentences_in
from devicemgr.testing.conformance import CHECKS, Skipped, Timing, Verdict, Weight, open_bench, run_checks, select
from devicemgr.testing.conformance.checks.stream_lost import BEYOND
from tests.helpers import undescribed
from tests.idle_clock import IdleClock, jumping

from .mutants import (
    DEVICES,
    RESOURCE,
    Answerer,
    AnswersForBrokenDevices,
    CountsItsIdsUp,
    FailsAtTheEnd,
    FailsToAllocateItsSecond,
    FightsAndLosesHeart,
    Found,
    GivesUpAfterARestart,
    HangsAfterARefusal,
    HasASecondResource,
    HasOneName,
    Honest,
    Lister,
    LooksAtFilesOnly,
    NeverComesBack,
    OnlyLogsARefusal,
    PanicsAtAChange,
    RegistersInALoop,
    RegistersOneAfterTheOther,
    SaysANodeThatIsNotThere,
    SaysItsListLate,
    SaysMinusOne,
    ServesWhenItWasRefused,
    StumblesOverItsSocket,
    TakesItselfForRegistered,
    UsesOneName,
    WatchesKubeletSockOnly,
    all_mutants,
    leave_socket,
)
from .oddities import (
    DeletesWhateverHasItsName,
    EndsBesideAnother,
    EndsWhenItIsRefused,
    EndsWhenItsStreamIsLost,
    EndsWithItsStream,
    NamesItsSocketByTheSecond,
    ServesOnTwoSockets,
    TriesAgainLater,
    WaitsForTheOther,
    all_oddities,
)

TIMING = Timing(patience=40, prompt=10, restarts=6, restarting=300)


MUTANTS = all_mutants()  # before any test makes one more


@pytest.fixture
def idle_clock(request):
    """pytest-trio uses any fixture that is a clock."""
    mutant = getattr(request.node, "callspec", None) and request.node.callspec.params.get("mutant")
    return IdleClock(getattr(mutant, "work", 5.0))


VERDICTS = {Weight.ERROR: Verdict.FAILED, Weight.WARNING: Verdict.WARNING}


async def results_of(kind, timing=TIMING, only=(), *, strict=False, fail_fast=False, **how):
    async with jumping() as nursery:
        async with open_bench(kind(nursery), timing=timing, numa=Numa(nodes=(0, 1)), **how) as bench:
            made = await run_checks(bench, select(only), strict=strict, fail_fast=fail_fast)
            return {result.check: result for result in made}


def broken(results):
    return {name: result.evidence for name, result in results.items() if result.verdict.is_broken}


class NotOurs(Honest):
    """It is started and ended elsewhere (--attach)."""

    is_running = True

    async def run_in_background(self):
        try:
            await trio.sleep_forever()
        finally:
            self.run_scope.cancel()

    def new_instance(self):
        return None

    async def kill(self):
        pass

    async def terminate(self):
        raise Skipped("not ours")

    async def surge(self, directory, ready, grace):
        raise Skipped("not ours")

    def descriptors(self):
        raise Skipped("not ours")


async def test_an_honest_plugin_passes_all(idle_clock):
    results = await results_of(Honest)
    assert {name: r.evidence for name, r in results.items() if r.verdict is not Verdict.PASSED} == {}
    assert list(results) == list(CHECKS)


async def test_a_plugin_found_in_plugins_registry_is_checked_like_any_other(idle_clock):
    results = await results_of(Found)
    assert {name: r.evidence for name, r in results.items() if r.verdict is not Verdict.PASSED} == {
        "wiped": "the plug-in was found in plugins_registry, where the kubelet deletes nothing",
        "socket-deleted": "the plug-in was found in plugins_registry, where only the plug-in deletes its socket",
        "registers-again": "the plug-in was found in plugins_registry, where it is the kubelet that tries again",
        "stream-lost": "the plug-in was found in plugins_registry, and has no need to call Register",
    }


async def test_the_evidence_says_what_was_not_seen_without_a_change(idle_clock):
    class NobodySaidHow(Honest):
        async def change(self):
            raise Skipped("no command is given")

    result = (await results_of(NobodySaidHow))["changes-arrive"]
    assert result.verdict is Verdict.SKIPPED
    assert (
        "so it was not seen whether a change still arrives after a restart of the manager, the del" in result.evidence
    )


async def test_a_change_that_works_only_once_proves_nothing(idle_clock):
    class ChangesOnce(Honest):
        async def change(self):
            if self.plugin.devices == self.devices:
                await super().change()

    result = (await results_of(ChangesOnce))["changes-arrive"]
    assert result.verdict is Verdict.SKIPPED
    assert "make it one that changes something each time" in result.evidence


async def test_a_change_that_brings_a_list_after_one_start_only_is_reported_as_such(idle_clock):
    class ChangesAfterItsFirstStart(Honest):
        def new_instance(self):
            return None

        async def change(self):
            if self.start_count == 1:
                await super().change()

    results = await results_of(ChangesAfterItsFirstStart, only=["lists-complete", "changes-arrive"])
    assert results["lists-complete"].verdict is Verdict.PASSED
    evidence = results["changes-arrive"].evidence
    assert evidence.startswith("the command of --change brought a list before, and none, twice, after a new start")


async def test_a_change_that_brings_no_list_is_one_failure(idle_clock):
    class NoticesNothing(Honest):
        devices = DEVICES[:4]

        async def change(self):
            """By the command `true`."""

    results = await results_of(NoticesNothing, only=["allocate-unhealthy", "lists-complete", "changes-arrive"])
    assert list(broken(results)) == ["lists-complete"]
    cause = "the command of --change brings no list, whatever comes before it"
    assert results["lists-complete"].evidence.startswith(f"{cause}: it changes nothing, or the plug-in does not report")
    for name in ("allocate-unhealthy", "changes-arrive"):
        assert results[name].verdict is Verdict.SKIPPED
        assert f"{cause} (lists-complete)" in results[name].evidence


class IsHealthy(Answerer):
    """As long as nobody changes that, back and forth; and Allocate does not look at it."""

    devices = DEVICES[:4]

    async def answer(self, honest, ids):
        return RunOptions()

    async def change(self):
        is_healthy = all(device.is_healthy for device in self.plugin.devices)
        self.plugin.set_health("gpu-3", "Unhealthy" if is_healthy else "Healthy")


async def test_a_device_that_a_change_makes_unhealthy_is_asked_for(idle_clock):
    async with jumping() as nursery:
        async with open_bench(subject := IsHealthy(nursery), timing=TIMING) as bench:
            results = {r.check: r for r in await run_checks(bench, select(["allocate-unhealthy"]))}
            assert all(device.is_healthy for device in subject.plugin.devices), "it is changed back"
    result = results["allocate-unhealthy"]
    assert result.verdict is Verdict.WARNING
    assert "Allocate [gpu-3], with a device that --change had made unhealthy, was answered" in result.evidence


async def test_the_evidence_says_why_no_unhealthy_device_was_asked_for(idle_clock):
    class AddsADevice(IsHealthy):
        async def change(self):
            self.plugin.set_devices([*self.plugin.devices, Device(id=f"new-{len(self.plugin.devices)}")])

    class CannotBeChanged(IsHealthy):
        async def change(self):
            raise Skipped("no command is given that makes the plug-in report a change (--change)")

    for kind, why in (
        (AddsADevice, "the command of --change makes no device unhealthy"),
        (CannotBeChanged, "no command is given that makes the plug-in report a change (--change)"),
    ):
        (result,) = (await results_of(kind, only=["allocate-unhealthy"])).values()
        assert (result.verdict, result.evidence) == (Verdict.SKIPPED, f"all devices are healthy, and {why}")


async def test_the_evidence_of_changed_ids_says_what_changed_them(idle_clock):
    (result,) = (await results_of(CountsItsIdsUp, only=["ids-stable"])).values()
    assert result.evidence.startswith("2 of 3 registrations had the same ids; with a new start of its process they")


async def test_ids_that_change_in_one_process_are_reported_as_such(idle_clock):
    class CountsItsRegistrations(Honest):
        def prepare(self, plugin):
            ensure_serving = plugin.restore_socket

            def restored():
                plugin.set_devices(replace(device, id=f"{device.id}-{self.registrations}") for device in DEVICES)
                return ensure_serving()

            plugin.restore_socket = restored

    (result,) = (await results_of(CountsItsRegistrations, only=["ids-stable"])).values()
    assert "; with a registration of the same process they became others: " in result.evidence


async def test_the_evidence_says_why_few_restarts_were_enough(idle_clock):
    timing = replace(TIMING, restarts=21)
    (result,) = (await results_of(Honest, timing, only=["descriptors"])).values()
    assert result.evidence.startswith("7 open descriptors before, 7 after 20 restarts in ")
    assert result.evidence.endswith("; of 21, as many as are enough when none is left open")


@pytest.mark.parametrize("name", ["paths-absolute", "permissions", "host-paths-exist", "cdi-names"])
def test_what_an_answer_has_to_be_cites_what_becomes_of_answers(name):
    assert list(sentences_in(CHECKS[name].rule).values()) == [
        "At its start a container gets the merged answers for all its resources; the first one wins"
    ]


async def test_the_evidence_names_the_change_at_which_it_exited(idle_clock):
    result = (await results_of(PanicsAtAChange))["changes-arrive"]
    assert result.evidence.startswith(
        "at a change after a restart of the manager: the plug-in has ended, with exit status 2"
    )
    assert "--respawn" not in result.evidence


@pytest.mark.parametrize("respawn", [False, True])
async def test_a_panic_in_allocate_is_quoted(idle_clock, respawn):
    """It is not what a plug-in means that relies on being started again."""

    class PanicsInAllocate(Answerer):
        async def start(self, directory):
            self.unexpected_exit = None
            await super().start(directory)

        async def answer(self, honest, ids):
            if "devicemgr-no-such-device" in ids:
                self.output += "panic: index out of range\n"
                self.unexpected_exit = "with exit status 2"
                self.run_scope.cancel()
                await trio.sleep_forever()
            return await honest(ids)

    (result,) = (await results_of(PanicsInAllocate, only=["allocate-unknown"], respawn=respawn)).values()
    assert result.verdict is Verdict.FAILED
    assert "with exit status 2; its last output: panic: index out of range" in result.evidence, result.evidence
    assert "--respawn" not in result.evidence


class RegistersItsSecondWhileTheFirstIsAsked(HasASecondResource):
    """And takes two seconds to say what it offers, until when the manager does not serve it."""

    async def keep_both_registered(self, first, second):
        asked, answer, options = trio.Event(), first.on_allocate, second.on_options

        async def allocate(ids):
            asked.set()
            return await answer(ids)

        async def say_options():
            await trio.sleep(2)
            return await options()

        first.on_allocate, second.on_options = allocate, say_options
        async with trio.open_nursery() as nursery:
            nursery.start_soon(first.keep_registered)
            await asked.wait()
            await second.keep_registered()


async def test_a_resource_that_is_only_being_registered_is_waited_for(idle_clock):
    asking = ["allocate-answers", "preferred-allocation", "pre-start"]
    results = await results_of(RegistersItsSecondWhileTheFirstIsAsked, only=asking)
    assert not broken(results)
    said = [line for line in results["pre-start"].conversation if "PreStartContainer" in line]
    assert ["vendor.com/nic" in line for line in said] == [False, True], said


@pytest.mark.parametrize("kind", [HasASecondResource, RegistersOneAfterTheOther])
@pytest.mark.parametrize("resource", [None, "vendor.com/gpu"])
async def test_one_with_two_resources_is_disrupted_only_when_both_are_back(idle_clock, kind, resource):
    results = await results_of(kind, resource=resource)
    assert {name: r.evidence for name, r in results.items() if r.verdict is not Verdict.PASSED} == {}
    for name in ("vendor.com/gpu", "vendor.com/nic"):
        assert (f"{name}: all 5 devices" in results["first-list-complete"].evidence) == (resource is None)


async def test_a_check_that_one_resource_fails_is_still_run_for_the_other(idle_clock):
    results = await results_of(FailsToAllocateItsSecond)
    assert results["allocate-answers"].evidence.startswith("vendor.com/nic: Allocate [gpu-0] was answered with")
    concurrent = results["allocate-concurrent"]
    assert concurrent.verdict is Verdict.PASSED
    assert concurrent.evidence.endswith("; not run for vendor.com/nic, which did not pass allocate-answers")
    first_alone = await results_of(FailsToAllocateItsSecond, resource="vendor.com/gpu")
    assert first_alone["allocate-answers"].verdict is Verdict.PASSED


@pytest.mark.parametrize("kind", all_oddities(), ids=lambda kind: kind.__name__)
async def test_a_plugin_that_is_only_odd_passes_all(kind, idle_clock):
    results = await results_of(kind, replace(TIMING, restarting=20))
    assert {name: r.evidence for name, r in results.items() if r.verdict is not Verdict.PASSED} == {}


class TriesAgainLaterWithOneName(UsesOneName, TriesAgainLater):
    pass


class EndsWhenItIsRefusedWithOneName(UsesOneName, EndsWhenItIsRefused):
    pass


@pytest.mark.parametrize(
    ("kind", "words"),
    [(Honest, "each had a name of its own"), (WaitsForTheOther, "both had gpu.sock, one after the other")],
)
async def test_a_plugin_that_never_registers_over_another_process_passes(idle_clock, kind, words):
    (result,) = (await results_of(kind, only=["rolling-update"])).values()
    assert (result.verdict, words in result.evidence) == (Verdict.PASSED, True), result.evidence


@pytest.mark.parametrize(
    "kind", [HasOneName, DeletesWhateverHasItsName, TriesAgainLaterWithOneName, EndsWhenItIsRefusedWithOneName]
)
async def test_a_plugin_that_comes_back_after_the_refusal_of_v1_37_is_warned_of_its_name(idle_clock, kind):
    (result,) = (await results_of(kind, only=["rolling-update"])).values()
    assert (result.verdict, result.evidence) == (
        Verdict.WARNING,
        "both had gpu.sock: with maxSurge a kubelet of v1.37 refuses that name until it is restarted; take a name that "
        "no other process has, such as one with the time of its start in it; when the new one was refused here, it "
        "registered again",
    )


async def test_where_the_first_of_two_served_last_that_the_second_did_nothing_then_is_told(idle_clock):
    """NVIDIA's for KubeVirt: that the first one's stream ended is not what is wrong."""

    class LeavesTheSocketItTookBack(FightsAndLosesHeart):
        breaks = None

        def clean_up(self):
            leave_socket(self.path)

    timing = replace(TIMING, patience=10)
    (result,) = (await results_of(LeavesTheSocketItTookBack, timing, only=["rolling-update"])).values()
    assert result.evidence.startswith(
        "when the first of two processes had ended, the new one did not register again within 10 s; before, they took"
    ), result.evidence


async def test_of_one_that_is_slow_to_begin_the_names_are_judged_when_it_has_begun(idle_clock):
    """Beside others it has no time for that."""

    class IsSlow(HasOneName):
        async def serve(self, directory, options):
            await trio.sleep(self.is_served() and 15)
            await super().serve(directory, options)

    results = await results_of(IsSlow, only=["stream-silent", "rolling-update"])
    assert results["rolling-update"].verdict is Verdict.WARNING, results["rolling-update"].evidence


@pytest.mark.parametrize("kind", [OnlyLogsARefusal, HangsAfterARefusal])
async def test_the_evidence_quotes_the_refusal_of_v1_37(idle_clock, kind):
    (result,) = (await results_of(kind, replace(TIMING, patience=10), only=["rolling-update"])).values()
    assert result.verdict is Verdict.FAILED
    assert result.evidence.startswith(
        "both had gpu.sock: Register was answered UNKNOWN, 'device plugin already connected: /"
    ), result.evidence
    assert "the new one did not register again within 10 s; take a name that no other process has" in result.evidence


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Honest, "refused once after a restart of the manager, it was registered 0."),
        (TriesAgainLater, "refused once at its start, it was registered 10."),
        (EndsWhenItIsRefused, "meanwhile it ended 2 times, with exit status 2, and was started again"),
        (RegistersOneAfterTheOther, "times, with exit status 1, and was started again"),
        (NotOurs, "its start was not tried (--attach); refused once after a restart of the manager, it was registered"),
        (NeverComesBack, "after a restart of the manager it did not call Register at all, which is what the check"),
    ],
)
async def test_a_plugin_that_registers_again_after_a_refusal_passes(idle_clock, kind, words):
    (result,) = (await results_of(kind, only=["registers-again"])).values()
    assert (result.verdict, words in result.evidence) == (Verdict.PASSED, True), result.evidence


@pytest.mark.parametrize(
    ("kind", "what"),
    [(TakesItselfForRegistered, "at its start"), (GivesUpAfterARestart, "after a restart of the manager")],
)
async def test_the_evidence_of_a_plugin_that_gives_up_quotes_the_refusal(idle_clock, kind, what):
    (result,) = (await results_of(kind, replace(TIMING, patience=10), only=["registers-again"])).values()
    assert result.verdict is Verdict.WARNING
    refusal = "'failed to dial device plugin: context deadline exceeded'"
    assert result.evidence.startswith(f"Register was refused once {what}, {refusal}, and then it did not call it again")


async def test_its_last_output_is_shown_with_it(idle_clock):
    (result,) = (
        await results_of(TakesItselfForRegistered, replace(TIMING, patience=10), only=["registers-again"])
    ).values()
    assert "; it last wrote: E0101 12:00:00 failed to register: failed to dial" in result.evidence


class LogsTheRefusalOfItsSecond(HasASecondResource):
    def prepare_second(self, plugin):
        TakesItselfForRegistered.prepare(self, plugin)


async def test_the_resource_that_is_not_registered_again_is_named(idle_clock):
    timing = replace(TIMING, patience=10)
    (result,) = (await results_of(LogsTheRefusalOfItsSecond, timing, only=["registers-again"])).values()
    assert result.verdict is Verdict.WARNING
    assert result.evidence.startswith("Register of vendor.com/nic was refused once at its start")
    (result,) = (
        await results_of(LogsTheRefusalOfItsSecond, timing, only=["registers-again"], resource="vendor.com/gpu")
    ).values()
    assert result.verdict is Verdict.PASSED


async def test_no_registration_is_refused_after_the_check(idle_clock):
    async with jumping() as nursery:
        async with open_bench(subject := TakesItselfForRegistered(nursery), timing=TIMING) as bench:
            await run_checks(bench, select(["registers-again"]))
            await subject.kill()
            await subject.start(bench.layout.plugins)
            assert await bench.wait_until(bench.serves, TIMING.patience)


class LogsEveryRefusal(UsesOneName, Honest):
    """Whatever is the reason."""

    def prepare(self, plugin):
        OnlyLogsARefusal.prepare(self, plugin)
        TakesItselfForRegistered.prepare(self, plugin)


async def test_a_plugin_that_exits_when_its_stream_is_lost_passes(idle_clock):
    (result,) = (await results_of(EndsWhenItsStreamIsLost, only=["stream-lost"])).values()
    assert result.verdict is Verdict.PASSED
    assert "it ended once, with exit status 1, and was started again" in result.evidence


async def test_a_plugin_that_is_started_again_may_be_slow(idle_clock):
    class IsSlowToBegin(EndsWhenItsStreamIsLost):
        async def serve(self, directory, options):
            await trio.sleep(TIMING.prompt + BEYOND + 5)
            await super().serve(directory, options)

    (result,) = (await results_of(IsSlowToBegin, only=["stream-lost"])).values()
    assert result.verdict is Verdict.PASSED, result.evidence


class RegistersByATimer(UsesOneName, Honest):
    async def stay_registered(self, plugin):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(plugin.keep_registered)
            while True:
                await trio.sleep(TIMING.quiet_period / 2)
                await plugin.register()


async def test_a_plugin_that_registers_by_a_timer_is_found_by_that_check_alone(idle_clock):
    (result,) = (await results_of(RegistersByATimer, only=["endpoint-fresh"])).values()
    assert result.evidence.startswith("'gpu.sock' was registered again while its stream was open"), result.evidence


class EndsInTheMiddleOfItsFirstCall(Honest):
    """As far as the manager can see."""

    is_first = True

    def prepare(self, plugin):
        async def lost():
            if self.is_first:
                self.is_first = False
                raise RpcFailed("the connection was closed", status="UNAVAILABLE")
            return plugin.options

        plugin.on_options = lost


async def test_a_call_that_nobody_could_answer_is_no_answer(idle_clock):
    """Of a plug-in with two resources the first one may be ended for a check while the second one registers."""
    (result,) = (await results_of(EndsInTheMiddleOfItsFirstCall, only=["options"])).values()
    assert result.verdict is Verdict.PASSED, result.evidence
    assert result.evidence.startswith("answered OK"), result.evidence


async def test_a_plugin_with_two_streams_loses_both(idle_clock):
    (result,) = (await results_of(ServesOnTwoSockets, only=["stream-lost"])).values()
    assert result.verdict is Verdict.PASSED, result.evidence


async def test_a_plugin_that_only_watches_files_does_not_register_again(idle_clock):
    (result,) = (await results_of(LooksAtFilesOnly, only=["stream-lost"])).values()
    assert result.verdict is Verdict.WARNING
    assert result.evidence == "no list came within 13 s of the end of the stream: it did not call Register"


class OnlyLogsTheRefusalOfItsSecond(UsesOneName, HasASecondResource):
    def prepare_second(self, plugin):
        OnlyLogsARefusal.prepare(self, plugin)


async def test_the_resource_that_is_given_up_is_named(idle_clock):
    (result,) = (
        await results_of(OnlyLogsTheRefusalOfItsSecond, replace(TIMING, patience=10), only=["rolling-update"])
    ).values()
    assert result.verdict is Verdict.FAILED
    assert "vendor.com/nic: the new one did not register again" in result.evidence


async def test_a_manager_refuses_as_v1_37_for_that_moment_only(idle_clock):
    async with jumping() as nursery:
        async with open_bench(subject := HasOneName(nursery), timing=TIMING, numa=Numa(nodes=(0, 1))) as bench:
            await run_checks(bench, select(["rolling-update"]))
            await subject.plugin.register()  # while its stream is open


async def test_one_that_does_not_start_beside_another_takes_over_when_it_is_started_again(idle_clock):
    (result,) = (await results_of(EndsBesideAnother, only=["rolling-update"])).values()
    assert result.verdict is Verdict.PASSED
    assert "it ended once, with exit status 1, and was started again" in result.evidence


async def test_a_plugin_that_names_its_socket_by_the_second_is_not_disrupted_twice_in_one(mock_clock):
    mock_clock.rate = 1.0
    timing = replace(TIMING, quiet_period=0.1)
    results = await results_of(NamesItsSocketByTheSecond, timing, ("wiped", "socket-deleted"))
    assert {name: r.evidence for name, r in results.items() if r.verdict is not Verdict.PASSED} == {}


async def test_a_disruption_a_second_later_is_out_of_step_with_a_plugin_that_looks_once_a_second(mock_clock):
    """One that finds its socket gone before kubelet.sock is made again may end (GKE)."""
    mock_clock.rate = 1.0
    async with jumping() as nursery:
        async with open_bench(NamesItsSocketByTheSecond(nursery), timing=TIMING) as bench:
            await run_checks(bench, select(["first-list"]))
            registered = bench.seen(PluginRegistered)[-1][0].time
            assert await bench.begin_disruption() - registered > 1.1


async def test_a_plugin_with_the_second_in_its_socket_names_is_not_started_twice_within_one(mock_clock):
    """kill-restart did so to one that had just been started, which then found its own leftover (squat's)."""
    mock_clock.rate = 1.0
    async with jumping() as nursery:
        subject = NamesItsSocketByTheSecond(nursery)
        async with open_bench(subject, timing=TIMING) as bench:
            await run_checks(bench, select(["first-list"]))
            names = []
            for _ in range(3):
                await bench.restart_plugin()
                names.append(subject.path.name)
            assert len(set(names)) == 3


async def test_a_plugin_that_relies_on_being_started_again_can_be(idle_clock):
    results = await results_of(EndsWithItsStream)
    assert "checked with --respawn" in results["restart"].evidence
    results = await results_of(EndsWithItsStream, respawn=True)
    assert {name: r.evidence for name, r in results.items() if r.verdict is not Verdict.PASSED} == {}
    for name in ("restart", "away", "stream-cancel"):
        assert "with exit status 1, and was started again" in results[name].evidence


async def test_an_exited_plugin_is_waited_for_though_its_stream_seems_open(idle_clock):
    """Of a program that ends we may hear before the manager has read the end of its stream."""

    class IsSeenToEndBeforeItsStream(EndsWithItsStream):
        is_ending = False

        async def start(self, directory):
            self.is_ending = False
            await super().start(directory)

        @property
        def is_running(self):
            return super().is_running and not self.is_ending

        async def say(self, plugin, honest, seen):
            try:
                return await honest(seen)
            except trio.Cancelled:
                self.is_ending = True
                with trio.CancelScope(shield=True):
                    await trio.sleep(0.5)
                plugin.run_scope.cancel()
                raise

    result = (await results_of(IsSeenToEndBeforeItsStream, only=["stream-cancel"], respawn=True))["stream-cancel"]
    assert (
        result.evidence == "it ends with its stream; meanwhile it ended once, with exit status 1, and was started again"
    )


async def test_one_with_two_resources_is_started_again_with_both(idle_clock):
    class EndsWithItsFirstStream(EndsWithItsStream, HasASecondResource):
        pass

    results = await results_of(EndsWithItsFirstStream, respawn=True)
    assert {name: r.evidence for name, r in results.items() if r.verdict is not Verdict.PASSED} == {}
    assert "and was started again" in results["away"].evidence


async def test_one_that_is_found_is_started_again(idle_clock):
    class FoundAndEndsWithItsStream(EndsWithItsStream, Found):
        pass

    results = await results_of(FoundAndEndsWithItsStream, respawn=True)
    failed = {name: r.evidence for name, r in results.items() if r.verdict is not Verdict.PASSED}
    assert set(failed) == {"wiped", "socket-deleted", "registers-again", "stream-lost"}, failed


NEEDS_TO_BE_OURS = {"descriptors", "kill-restart", "sigterm-ends", "sigterm-removes-socket", "changes-arrive"}
NEEDS_TO_BE_OURS |= {"rolling-update"}


async def test_one_that_is_not_ours_is_asked_though_we_cut_its_stream(idle_clock):
    results = await results_of(NotOurs)
    assert {name for name, r in results.items() if r.verdict is not Verdict.PASSED} == NEEDS_TO_BE_OURS


async def test_a_lost_plugin_that_is_not_ours_is_reported_once(idle_clock):
    class NotOursAndLost(NotOurs, NeverComesBack):
        pass

    results = await results_of(NotOursAndLost)
    assert {name for name, r in results.items() if r.verdict is Verdict.FAILED} == {"restart"}
    for name in ("kill-restart", "ids-stable", "stream-cancel"):
        assert "does not serve any more, and is not ours" in results[name].evidence


WHATEVER_IT_BREAKS = "no command is given", "the plug-in was found in plugins_registry"
"""Why a check is not run on a plug-in of that kind, honest or not."""


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.breaks}-{mutant.__name__}")
async def test_a_plugin_with_one_fault_fails_exactly_that_check(mutant, idle_clock):
    results = await results_of(mutant, replace(TIMING, patience=20, restarting=60))
    assert list(broken(results)) == [mutant.breaks], broken(results)
    assert results[mutant.breaks].verdict is VERDICTS[mutant.weight]
    for result in results.values():
        if result.verdict is Verdict.SKIPPED and not result.evidence.startswith(WHATEVER_IT_BREAKS):
            is_why = mutant.breaks in needs_of(result.check) or f"({mutant.breaks})" in result.evidence
            assert is_why, f"{result.check}: {result.evidence}"


async def test_a_socket_that_is_made_after_a_refusal_is_late_and_not_elsewhere(idle_clock):
    results = await results_of(
        ServesWhenItWasRefused, replace(TIMING, prompt=5), only=["serves-first", "registers-once"]
    )
    assert list(broken(results)) == ["serves-first"], broken(results)


def needs_of(name):
    """What a check needs, directly or not; and what it is itself about."""
    direct = CHECKS[name].needs
    return {*direct, *(more for one in direct for more in needs_of(one))}


class HasOneListForEachRegistration(Lister):
    """In a channel, as Xilinx's has it: a second stream waits for the next change."""

    told_at = 0

    async def say(self, plugin, honest, seen):
        if seen < 0 and self.told_at == self.registrations:
            await trio.sleep_forever()
        self.told_at = self.registrations
        return await honest(seen)


async def test_one_without_a_list_for_a_second_stream_still_outlives_kubelet_sock(idle_clock):
    results = await results_of(
        HasOneListForEachRegistration, replace(TIMING, patience=10), only=["registry-deleted", "stream-cancel"]
    )
    assert list(broken(results)) == ["stream-cancel"], broken(results)


class CannotStartOverWhatItLeaves(StumblesOverItsSocket):
    breaks = None
    removes_socket = False


class EndsWhenItIsRefusedAndCannotStartOver(EndsWhenItIsRefused, CannotStartOverWhatItLeaves):
    """So it is started again in vain."""

    async def start(self, directory):
        await super().start(directory)
        if self.ended.is_set():
            self.unexpected_exit = "with exit status 1"

    async def serve(self, directory, options):
        try:
            await super().serve(directory, options)
        finally:
            leave_socket(self.path)


class FailsAtTheEndAndLeavesItsSocket(FailsAtTheEnd):
    breaks = None
    removes_socket = False


class CountsUpAndNeverComesBack(CountsItsIdsUp, NeverComesBack):
    breaks = None


class DeletesTheOtherOnesSocket(UsesOneName, WatchesKubeletSockOnly):
    """What its end does to the other one is noticed by nobody: most plug-ins in Go, with ``maxSurge``."""

    breaks = None

    def clean_up(self):
        self.path.unlink(missing_ok=True)


class RegistersAsAHeartbeat(RegistersInALoop):
    breaks = None
    period = 1.0  # so often that there is one between any two disruptions

    def another_name(self):
        return self.path.name


@pytest.mark.parametrize(
    ("kind", "faults"),
    [
        (CannotStartOverWhatItLeaves, {"kill-restart", "sigterm-removes-socket"}),
        (FailsAtTheEndAndLeavesItsSocket, {"sigterm-ends", "sigterm-removes-socket"}),
        (CountsUpAndNeverComesBack, {"restart", "ids-stable"}),
        (DeletesTheOtherOnesSocket, {"socket-deleted", "rolling-update"}),
        (LogsEveryRefusal, {"registers-again", "rolling-update"}),
        (RegistersAsAHeartbeat, {"registers-once", "returns-once", "endpoint-fresh"}),
    ],
)
async def test_one_fault_does_not_hide_another(kind, faults, idle_clock):
    assert set(broken(await results_of(kind))) == faults


async def test_what_a_refusal_leads_to_is_no_more_than_a_warning(idle_clock):
    """That it cannot start over its socket is the failure of kill-restart."""
    results = await results_of(EndsWhenItIsRefusedAndCannotStartOver, only=["registers-again", "kill-restart"])
    assert {
        name: result.verdict for name, result in results.items() if name in ("registers-again", "kill-restart")
    } == {
        "registers-again": Verdict.WARNING,
        "kill-restart": Verdict.FAILED,
    }
    assert "its last output: bind: address already in use" in results["registers-again"].evidence


class SaysMinusOneAndANodeThatIsNotThere(SaysMinusOne):
    breaks = None
    devices = (*SaysMinusOne.devices, *SaysANodeThatIsNotThere.devices)


async def test_an_error_takes_precedence_over_a_warning(idle_clock):
    (result,) = (await results_of(SaysMinusOneAndANodeThatIsNotThere, only=["numa-plausible"])).values()
    assert (result.verdict, "gpu-5 on [-1]" in result.evidence) == (Verdict.FAILED, True)


async def test_a_warning_is_a_failure_when_it_is_meant_strictly(idle_clock):
    usual = "sigterm-removes-socket", "sigterm-ends"
    results = await results_of(FailsAtTheEndAndLeavesItsSocket, only=usual, fail_fast=True)
    assert [result.verdict for result in results.values()] == [Verdict.WARNING] * 2
    strictly = await results_of(FailsAtTheEndAndLeavesItsSocket, only=usual, fail_fast=True, strict=True)
    assert [result.verdict for result in strictly.values()] == [Verdict.FAILED, Verdict.NOT_RUN]


async def test_a_warning_of_one_resource_is_shown_with_the_failure_of_another(idle_clock):
    class TwoFaults(HasASecondResource):
        devices = SaysANodeThatIsNotThere.devices

        def prepare_second(self, plugin):
            plugin.set_devices(SaysMinusOne.devices)

    (result,) = (await results_of(TwoFaults, only=["numa-plausible"])).values()
    assert result.verdict is Verdict.FAILED
    assert "vendor.com/gpu: this machine has [0, 1]; gpu-5 on [2]" in result.evidence
    assert "vendor.com/nic: this machine has [0, 1]; gpu-5 on [-1]" in result.evidence
    assert result.failed_resources == ("vendor.com/nic",)


async def test_a_plugin_that_exits_during_a_check_that_only_warns_fails_it(idle_clock):
    class DiesOfABrokenDevice(EndsWithItsStream, Answerer):
        def prepare(self, plugin):
            super().prepare(plugin)
            Answerer.prepare(self, plugin)

        async def answer(self, honest, ids):
            if "gpu-4" in ids:
                self.run_scope.cancel()
            return await honest(ids)

    result = (await results_of(DiesOfABrokenDevice, only=["allocate-unhealthy"]))["allocate-unhealthy"]
    assert (result.verdict, "with exit status 1" in result.evidence) == (Verdict.FAILED, True), result.evidence


async def test_a_warning_does_not_block_other_checks(idle_clock, monkeypatch):
    late = "first-list-complete"
    monkeypatch.setitem(CHECKS, late, replace(CHECKS[late], weight=Weight.WARNING))
    monkeypatch.setitem(CHECKS, "message-size", replace(CHECKS["message-size"], needs=(late,)))
    results = await results_of(SaysItsListLate, only=["message-size", late])
    assert {name: r.verdict for name, r in results.items()} == {late: Verdict.WARNING, "message-size": Verdict.PASSED}


def test_no_check_is_without_a_mutant():
    assert {mutant.breaks for mutant in MUTANTS} == set(CHECKS)


async def test_checks_that_need_no_healthy_device_run_without_one(idle_clock):
    class Broken(AnswersForBrokenDevices):
        devices = tuple(replace(device, health="Unhealthy") for device in DEVICES)

        async def answer(self, honest, ids):
            return RunOptions()

    results = await results_of(Broken)
    assert set(broken(results)) == {"allocate-unknown", "allocate-unhealthy"}
    assert results["allocate-answers"].evidence == "no device is healthy"
    assert results["cdi-names"].blocked_by == ("allocate-answers",)


@pytest.mark.parametrize(
    "words",
    [
        'Get "https://10.96.0.1:443/api/v1/pods": dial tcp 10.96.0.1:443: i/o timeout',
        "unable to load in-cluster configuration, KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT must be defined",
    ],
)
async def test_a_missing_api_server_is_no_failure(words, idle_clock):
    class Asks(Answerer):
        async def answer(self, honest, ids):
            self.output += f"E0101 12:00:00 {words}\n"
            raise RpcFailed("no pod found")

    results = await results_of(Asks)
    assert [name for name, result in results.items() if result.verdict is Verdict.FAILED] == []
    assert words in results["allocate-answers"].evidence
    others = [name for name, result in results.items() if result.verdict is Verdict.SKIPPED]
    assert {result for name in others for result in results[name].blocked_by} <= {"allocate-answers", "allocate-same"}


async def test_an_api_server_that_is_only_mentioned_is_no_excuse(idle_clock):
    class Mentions(Answerer):
        async def answer(self, honest, ids):
            self.output += "I0101 12:00:00 events go to the cluster of kubeconfig /etc/kubeconfig\n"
            raise RpcFailed("index out of range")

    (result,) = (await results_of(Mentions, only=["allocate-answers"])).values()
    assert (result.verdict, "index out of range" in result.evidence) == (Verdict.FAILED, True)


async def test_checks_that_need_no_device_run_without_one(idle_clock):
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


async def test_every_task_of_the_managers_has_a_name_of_ours(idle_clock, task_names):
    assert broken(await results_of(Honest)) == {}
    assert undescribed(task_names) == set()
    assert f"{RESOURCE} #1" in task_names
