"""What a test that fails shows: its own lines, and what was amiss."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

POD = """
POD = {"kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [
    {"name": "main", "resources": {"limits": {"vendor.com/gpu": 1}}}]}}
"""


def test_a_refusal_is_false_and_says_why(run):
    result = run(
        POD
        + """
def test_x(device_manager_sync, simulated_plugin):
    with simulated_plugin(device_manager_sync, "vendor.com/gpu"):
        assert device_manager_sync.admit(POD)
        assert device_manager_sync.admit({**POD, "metadata": {"name": "second"}})
"""
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            ">  *assert device_manager_sync.admit({*",
            "E *assert <refused, UnexpectedAdmissionError: *Requested: 1, Available: 0*>",
        ],
    )


CALLS = {
    'm.wait_for_resource("vendor.com/gpu", timeout=0.1)': "ResourceWaitTimeout: vendor.com/gpu did not reach*",
    'm.wait_for_resource("gpu")': "ValueError: wait_for_resource(): resource='gpu': it has no domain*",
    'm.remove("a", 3)': "TypeError: remove(): name must be a str, not 3",
    'm.faults.drop_connection("vendor.com/gpu")': "BadInput: vendor.com/gpu: no plug-in serves it",
}
KINDS = {
    "plain": "def test_{}(device_manager_sync):\n    m = device_manager_sync",
    "trio": "@pytest.mark.trio\nasync def test_{}(device_manager):\n    m = device_manager",
    "module": "@pytest.mark.trio\nasync def test_{}(module_device_manager):\n    m = module_device_manager",
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_of_ours_is_shown_with_the_lines_of_the_test_only(run, kind):
    lines = ["import pytest", "def helper(x): return x"]
    for number, call in enumerate(CALLS):
        awaited = "await " if kind != "plain" and "drop" not in call else ""
        lines += [KINDS[kind].format(number), f"    helper({awaited}{call})"]
    result = run("\n".join(lines))
    result.assert_outcomes(failed=len(CALLS))
    result.stdout.fnmatch_lines([line for told in CALLS.values() for line in (">       helper(*", f"E  *{told}")])
    assert len(result.outlines) < 90
    for hidden in ("*devicemgr/*.py:*", "*concurrent/futures*", "*/trio/*", "*Exception Group*"):
        result.stdout.no_fnmatch_line(hidden)


def test_a_program_that_cannot_be_started_takes_one_line(run):
    result = run(
        """
        def test_x(device_manager_sync, plugin_process):
            with plugin_process(device_manager_sync, ["./nope"], "vendor.com/gpu"):
                pass
        """
    )
    result.stdout.fnmatch_lines(["E  *SubjectUnusable: cannot start ./nope: No such file or directory"])
    result.stdout.no_fnmatch_line("*subprocess.py*")
    result.stdout.no_fnmatch_line("*direct cause*")


def test_a_wrong_setting_of_the_mark_takes_one_line(run):
    result = run(
        """
        import pytest
        @pytest.mark.device_manager(topology="restricted")
        def test_x(device_manager_sync):
            pass
        """
    )
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["@pytest.mark.device_manager: open_device_manager(): topology must be a Topology(*"])
    result.stdout.no_fnmatch_line("*devicemgr/*.py:*")


def test_a_bug_is_shown_whole(run):
    result = run(
        """
        def test_x(device_manager_sync, simulated_plugin):
            with simulated_plugin(device_manager_sync, "vendor.com/gpu") as plugin:
                plugin.set_health(device_manager_sync, 1 / 0)
        def test_y(device_manager_sync):
            device_manager_sync._portal.call(lambda: 1 / 0)
        """
    )
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["*devicemgr/daemon/threads/portal.py:*"])
