"""The pytest plug-in as its users have it: a pytest of its own, in a directory of its own, with nothing imported."""

from __future__ import annotations

from pathlib import Path

pytest_plugins = ["pytester"]

EXAMPLE = Path(__file__).parent.parent.parent.parent / "examples" / "plugin.py"

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
        manager.wait_for_resource("vendor.com/gpu", capacity=4, allocatable=4, timeout=30)
        assert manager.admit(POD).admitted
        gpu.set_health("dev-3", "Unhealthy")
        manager.wait_for_resource("vendor.com/gpu", capacity=4, allocatable=3, timeout=30)
        manager.faults.restart()
        manager.wait_for_resource("vendor.com/gpu", allocatable=3, timeout=30)
        assert [pod.name for pod in manager.pods()] == ["training"]
        assert ("Allocate", ("dev-0", "dev-1")) in gpu.calls
    manager.wait_for_resource("vendor.com/gpu", allocatable=0, timeout=30)

def test_three_hundred_seconds_at_once(device_manager_sync, simulated_plugin):
    manager = device_manager_sync
    with simulated_plugin(manager, "vendor.com/gpu", devices=4):
        pass
    manager.wait_for_resource("vendor.com/gpu", capacity=4, allocatable=0, timeout=30)
    manager.faults.freeze_clock()
    manager.faults.advance_clock(299)
    assert manager.capacity()["vendor.com/gpu"].capacity == 4
    manager.faults.advance_clock(2)
    manager.wait_for_resource("vendor.com/gpu", capacity=0, timeout=30)

def test_a_process(device_manager_sync, plugin_process):
    command = [sys.executable, {str(EXAMPLE)!r}, "{{dir}}"]
    with plugin_process(device_manager_sync, command, "vendor.com/card", capacity=4, timeout=120) as process:
        pod = {{"kind": "Pod", "metadata": {{"name": "one"}}, "spec": {{"containers": [
            {{"name": "main", "resources": {{"limits": {{"vendor.com/card": 1}}}}}}]}}}}
        assert device_manager_sync.admit(pod).containers[0].options.envs == {{"CARDS": "card-0"}}
        assert "registered vendor.com/card" in process.output
        assert process.is_running
        process.kill()
        assert not process.is_running
    device_manager_sync.wait_for_resource("vendor.com/card", allocatable=0, timeout=30)
"""


def test_ordinary_tests_drive_a_manager_in_a_thread(run):
    result = run(SYNC)
    result.assert_outcomes(passed=3)


def test_they_need_no_pytest_trio(run):
    run(SYNC, "-p", "no:trio").assert_outcomes(passed=3)


def test_the_fixture_for_trio_tests_says_what_it_needs(run):
    result = run("def test_x(device_manager): pass", "-p", "no:trio")
    result.stdout.fnmatch_lines(["*device_manager needs pytest-trio: pip install pytest-trio*"])


def test_outside_of_trio_tests_it_says_where_it_belongs(run):
    result = run(
        """
        def test_one(device_manager): pass
        def test_two(device_manager): pass
        async def test_three(device_manager): pass
        """
    )
    result.assert_outcomes(errors=3)
    result.stdout.fnmatch_lines(["the fixture device_manager is for Trio tests: mark this async test with *"])
    assert len(result.outlines) < 25


def test_a_fixture_of_the_users_own_of_that_name_is_left_alone(run):
    run(
        """
        import pytest

        @pytest.fixture
        def device_manager():
            return 1

        def test_x(device_manager):
            assert device_manager == 1
        """
    ).assert_outcomes(passed=1)


def test_a_setting_without_its_name_is_an_error(run):
    result = run("import pytest\n@pytest.mark.device_manager(5)\ndef test_x(device_manager_sync): pass")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["@pytest.mark.device_manager: write NAME=5, with the name"])


def test_a_mark_that_a_shared_manager_cannot_see_is_an_error_with_advice(run):
    result = run(
        """
        import pytest

        @pytest.mark.device_manager(grace=1.0)
        def test_module(module_device_manager_sync): pass

        @pytest.mark.device_manager(grace=1.0)
        class TestClass:
            def test_session(self, shared): pass

        @pytest.mark.trio
        @pytest.mark.device_manager(grace=1.0)
        async def test_trio(module_device_manager): pass

        @pytest.fixture(scope="module")
        def shared(session_device_manager_sync): pass

        @pytest.mark.device_manager(grace=1.0)
        def test_it_reaches_the_other_one(device_manager_sync, module_device_manager_sync): pass

        def test_no_mark(module_device_manager_sync): pass

        @pytest.mark.device_manager(grace=1.0)
        def test_no_manager(): pass
        """
    )
    result.assert_outcomes(passed=3, errors=3)
    begin = "@pytest.mark.device_manager of {} does not reach {}, which all tests of the {} share: "
    module = begin.format("this test", "module_device_manager_sync", "module")
    session = begin.format("TestClass", "session_device_manager_sync", "session")
    result.stdout.fnmatch_lines_random(
        [
            f"{module}write pytestmark = *, or use device_manager?_sync?",
            f"{session}in conftest.py write def pytest_sessionstart(session): *",
        ]
    )


def test_the_ways_out_that_it_names_are_ways_out(run, pytester):
    pytester.makeconftest(
        """
        import pytest

        def pytest_sessionstart(session):
            session.add_marker(pytest.mark.device_manager(grace=1.0))
        """
    )
    run(
        """
        import pytest

        pytestmark = pytest.mark.device_manager(grace=0.5)

        @pytest.mark.parametrize("name", ["session_device_manager_sync", "module_device_manager_sync"])
        def test_x(name, request, simulated_plugin):
            manager = request.getfixturevalue(name)
            with simulated_plugin(manager, "vendor.com/gpu"):
                pass
            manager.wait_for_resource("vendor.com/gpu", capacity=0, timeout=30)
        """
    ).assert_outcomes(passed=2)


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
            async with plugin_process(device_manager, argv, "vendor.com/card", allocatable=4, timeout=120) as process:
                await registered(process, 1)  # or the answer to its first Register is lost with the first life
                await device_manager.faults.restart()
                await device_manager.wait_for_resource("vendor.com/card", allocatable=4)
                await registered(process, 2)

        async def registered(process, count):
            while process.output.count("registered") < count:  # what it writes comes by another way than its list
                await trio.sleep(0.01)
        """
    ).assert_outcomes(passed=2)


def test_a_timeout_shows_the_state_and_the_last_events(run):
    result = run(
        """
        def test_x(device_manager_sync, simulated_plugin):
            with simulated_plugin(device_manager_sync, "vendor.com/gpu", devices=2):
                device_manager_sync.wait_for_resource("vendor.com/gpu", capacity=4, timeout=0.2)
        """
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            ">  *device_manager_sync.wait_for_resource(*",
            "E  *ResourceWaitTimeout: vendor.com/gpu did not reach capacity 4 within 0.2 s; it has capacity 2, *",
            "E  *-?.??? s  PluginRegistered resource=vendor.com/gpu endpoint=*",
            "test_*.py:3: ResourceWaitTimeout",
        ]
    )
    result.stdout.no_fnmatch_line("*{'sequence'*")


def test_a_program_that_never_registers_is_shown_with_its_words(run):
    result = run(
        """
        import sys
        def test_x(device_manager_sync, plugin_process):
            argv = [sys.executable, "-c", "print('no devices found', flush=True); import time; time.sleep(60)"]
            with plugin_process(device_manager_sync, argv, "vendor.com/gpu", timeout=3):
                pass
        """
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*did not reach any state within 3 s*", "*wrote:", "*no devices found*"])


def test_a_program_that_exits_is_reported_at_once_with_its_status(run):
    result = run(
        """
        import sys
        def test_x(device_manager_sync, plugin_process):
            argv = [sys.executable, "-c", "print('no devices found'); raise SystemExit(3)"]
            with plugin_process(device_manager_sync, argv, "vendor.com/gpu", timeout=1000):
                pass
        """
    )
    result.assert_outcomes(failed=1)
    ended = "*SubjectUnusable: * has ended, with exit status 3, before vendor.com/gpu was published as expected"
    result.stdout.fnmatch_lines([ended, "*no devices found*"])


def test_the_wrong_kind_of_with_is_an_error(run):
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


SHARED = """
import pytest

pytestmark = pytest.mark.device_manager(grace=1.0)
GPU, NIC = "vendor.com/gpu", "vendor.com/nic"
POD = {"kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [
    {"name": "main", "resources": {"limits": {GPU: 1}}}]}}

def test_plain(module_device_manager_sync, session_device_manager_sync, simulated_plugin):
    with simulated_plugin(module_device_manager_sync, GPU, devices=2):
        assert module_device_manager_sync.admit(POD)
    module_device_manager_sync.wait_for_resource(GPU, capacity=0)  # the module's mark holds
    session_device_manager_sync.wait_for_resource  # it has another directory
    assert session_device_manager_sync.pods() == []

@pytest.mark.trio
async def test_trio(module_device_manager, session_device_manager, simulated_plugin):
    assert [pod.name for pod in module_device_manager.pods()] == ["p"]
    async with simulated_plugin(module_device_manager, NIC, devices=2) as nic:
        nic.set_health("dev-0", "Unhealthy")
        assert (await module_device_manager.wait_for_resource(NIC, capacity=2, allocatable=1)).endpoint == "serving"
        await module_device_manager.faults.restart()
        await module_device_manager.wait_for_resource(NIC, allocatable=1)
        assert len(await module_device_manager.pod_resources.list_pods()) == 1
    assert await module_device_manager.remove("default", "p")
    assert session_device_manager.pods() == []
    async with simulated_plugin(session_device_manager, GPU):
        assert await session_device_manager.admit(POD)

def test_plain_again(module_device_manager_sync):
    assert module_device_manager_sync.pods() == []
"""


def test_a_module_and_a_session_share_a_manager(run, pytester):
    pytester.makepyfile(
        test_second="""
        def test_x(module_device_manager_sync, session_device_manager_sync):
            assert module_device_manager_sync.events()[0].sequence == 1
            assert [pod.name for pod in session_device_manager_sync.pods()] == ["p"]
        """
    )
    run(SHARED).assert_outcomes(passed=4)


def test_without_pytest_trio_they_share_it_as_well(run):
    run(SHARED, "-p", "no:trio", "-k", "plain", "-W", "ignore").assert_outcomes(passed=1, failed=1, deselected=1)


def test_nothing_of_ours_is_loaded_before_it_is_needed(run):
    run(
        """
        import sys
        def test_x():
            assert "grpclib" not in sys.modules
            assert "devicemgr.daemon" not in sys.modules
        """
    ).assert_outcomes(passed=1)
