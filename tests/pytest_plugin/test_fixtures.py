"""The pytest plug-in as its users have it: a pytest of its own, in a directory of its own, with nothing imported."""

from __future__ import annotations

import os
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "plugin.py"
INI = "[pytest]\ntimeout = 60\n"


@pytest.fixture
def run(pytester, monkeypatch):
    """``run("def test_…", "--option")``: the result of a pytest in a process of its own."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
    pytester.makeini(INI)

    def run_one(source, *options):
        if source:
            pytester.makepyfile(source)
        return pytester.runpytest_subprocess("-p", "no:cacheprovider", *options)

    return run_one


SYNC = f"""
import sys

POD = '''
kind: Pod
metadata: {{name: training}}
spec:
  containers:
  - name: main
    resources: {{limits: {{vendor.com/gpu: 2}}}}
'''

def test_a_simulated_plugin(device_manager_sync, simulated_plugin):
    manager = device_manager_sync
    with simulated_plugin(manager, "vendor.com/gpu", devices=4) as gpu:
        manager.wait_for_resource("vendor.com/gpu", capacity=4, allocatable=4, timeout=5)
        assert manager.admit(POD).admitted
        gpu.set_health("dev-3", "Unhealthy")
        manager.wait_for_resource("vendor.com/gpu", capacity=4, allocatable=3, timeout=5)
        manager.faults.restart()
        manager.wait_for_resource("vendor.com/gpu", allocatable=3, timeout=5)
        assert [pod.name for pod in manager.pods()] == ["training"]
        assert ("Allocate", ("dev-0", "dev-1")) in gpu.calls
    manager.wait_for_resource("vendor.com/gpu", allocatable=0, timeout=5)

def test_three_hundred_seconds_at_once(device_manager_sync, simulated_plugin):
    manager = device_manager_sync
    with simulated_plugin(manager, "vendor.com/gpu", devices=4):
        pass
    manager.wait_for_resource("vendor.com/gpu", capacity=4, allocatable=0, timeout=5)
    manager.faults.freeze_clock()
    manager.faults.advance_clock(299)
    assert manager.capacity()["vendor.com/gpu"].capacity == 4
    manager.faults.advance_clock(2)
    manager.wait_for_resource("vendor.com/gpu", capacity=0, timeout=5)

def test_a_process(device_manager_sync, plugin_process):
    command = [sys.executable, {str(EXAMPLE)!r}, "{{dir}}"]
    with plugin_process(device_manager_sync, command, "vendor.com/card", capacity=4) as process:
        pod = {{"kind": "Pod", "metadata": {{"name": "one"}}, "spec": {{"containers": [
            {{"name": "main", "resources": {{"limits": {{"vendor.com/card": 1}}}}}}]}}}}
        assert device_manager_sync.admit(pod).containers[0].options.envs == {{"CARDS": "card-0"}}
        assert "registered vendor.com/card" in process.output
        assert process.is_running
        process.kill()
        assert not process.is_running
    device_manager_sync.wait_for_resource("vendor.com/card", allocatable=0)
"""


def test_ordinary_tests_drive_a_manager_in_a_thread(run):
    result = run(SYNC)
    result.assert_outcomes(passed=3)


def test_they_need_no_pytest_trio(run):
    run(SYNC, "-p", "no:trio").assert_outcomes(passed=3)


def test_the_fixture_for_trio_tests_says_what_it_needs(run):
    result = run("def test_x(device_manager): pass", "-p", "no:trio")
    result.stdout.fnmatch_lines(["*device_manager needs pytest-trio: pip install pytest-trio*"])


def test_trio_tests_have_the_manager_in_their_own_program(run):
    run(
        f"""
        import sys
        import pytest, trio
        from devicemgr import Policy, Numa, Topology

        pytestmark = [pytest.mark.trio, pytest.mark.device_manager(grace=1.0)]

        async def test_a_simulated_plugin(device_manager, simulated_plugin):
            async with simulated_plugin(device_manager, "vendor.com/gpu", devices=4) as gpu:
                gpu.end_stream()
                await device_manager.wait_for_resource("vendor.com/gpu", capacity=0)

        @pytest.mark.device_manager(topology=Topology(policy=Policy.RESTRICTED, numa=Numa(nodes=(0, 1))))
        async def test_a_process(device_manager, plugin_process):
            argv = [sys.executable, {str(EXAMPLE)!r}, "{{dir}}"]
            async with plugin_process(device_manager, argv, "vendor.com/card", allocatable=4) as process:
                await registered(process, 1)  # or the answer to its first Register is lost with the first life
                await device_manager.faults.restart()
                await device_manager.wait_for_resource("vendor.com/card", allocatable=4)
                await registered(process, 2)

        async def registered(process, count):
            while process.output.count("registered") < count:  # what it writes comes by another way than its list
                await trio.sleep(0.01)
        """
    ).assert_outcomes(passed=2)


def test_what_did_not_come_is_told_with_the_state_and_the_last_events(run):
    result = run(
        """
        def test_x(device_manager_sync, simulated_plugin):
            with simulated_plugin(device_manager_sync, "vendor.com/gpu", devices=2):
                device_manager_sync.wait_for_resource("vendor.com/gpu", capacity=4, timeout=0.2)
        """
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*ResourceWaitTimeout: vendor.com/gpu did not reach capacity 4 within 0.2 s*capacity=2*", "*PluginRegistered*"]
    )


def test_a_program_that_never_registers_is_shown_with_its_words(run):
    result = run(
        """
        import sys
        def test_x(device_manager_sync, plugin_process):
            argv = [sys.executable, "-c", "print('no devices found')"]
            with plugin_process(device_manager_sync, argv, "vendor.com/gpu", timeout=0.5):
                pass
        """
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*wrote (it has ended):", "*no devices found*"])


def test_the_wrong_kind_of_with_is_told(run):
    result = run(
        """
        import pytest
        @pytest.mark.trio
        async def test_x(device_manager, simulated_plugin):
            with simulated_plugin(device_manager, "vendor.com/gpu"):
                pass
        """
    )
    result.stdout.fnmatch_lines(["*in a Trio test write 'async with'*"])


def test_the_conformance_checks_are_test_items(run, tmp_path):
    report = tmp_path / "report.xml"
    command = f"{sys.executable} {EXAMPLE} {{dir}}"
    result = run("", "--device-plugin", command, "-k", "registers or allocate", f"--junitxml={report}", "-v")
    result.assert_outcomes(passed=6, skipped=1, deselected=29)
    result.stdout.fnmatch_lines(["*allocate-unknown*PASSED*"])
    names = [case.get("name") for case in ElementTree.parse(report).iter("testcase")]
    assert names[:2] == ["registers", "registers-once"]


def test_a_failed_check_tells_the_evidence_and_the_way_out(run):
    result = run("", "--device-plugin", f"{sys.executable} -c 'print(42)'", "-k", "registers")
    result.assert_outcomes(failed=1, skipped=1, deselected=34)
    result.stdout.fnmatch_lines(
        ["*the plug-in has ended, with exit status 0; its last words: 42*", "*Mend it: call Register*"]
    )


def test_a_command_that_cannot_be_started_is_an_error_of_every_item(run):
    result = run("", "--device-plugin", "/no/such/program", "-k", "registers")
    result.stdout.fnmatch_lines(["*cannot start /no/such/program*"])
    assert result.ret == 1


def test_nothing_of_ours_is_loaded_before_it_is_needed(run):
    run(
        """
        import sys
        def test_x():
            assert "grpclib" not in sys.modules
            assert "devicemgr.daemon" not in sys.modules
        """
    ).assert_outcomes(passed=1)
