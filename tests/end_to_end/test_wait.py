"""``wait``, as scripts use it."""

from __future__ import annotations

import pytest


@pytest.fixture
def plugin(start, root_dir):
    def start_plugin(*options):
        return start("-m", "devicemgr", "plugin", "--root-dir", root_dir, "--resource", "vendor.com/gpu", *options)

    return start_plugin


def test_it_waits_for_manager_and_plugin(start, daemon, plugin, root_dir):
    """All three at once, as in a shell script."""
    waiting = start("-m", "devicemgr", "wait", "--root-dir", root_dir, "vendor.com/gpu", "--allocatable", "3")
    plugin("--count", "4", "--unhealthy", "dev-0")
    daemon()
    assert waiting.wait() == 0
    counts = "capacity 4, allocatable 3, allocated 0, available 3, endpoint serving"
    assert waiting.lines == [f"vendor.com/gpu: {counts}\n"]


def test_without_numbers_it_waits_for_a_plugin_and_outlives_a_restart(start, daemon, plugin, root_dir):
    waiting = start("-m", "devicemgr", "wait", "--root-dir", root_dir, "vendor.com/gpu")
    daemon().end()
    plugin()
    daemon()
    assert waiting.wait() == 0


def test_when_the_time_is_over_it_says_what_there_is(daemon, plugin, run):
    empty = run("wait", "vendor.com/gpu", "--timeout", "0.5")
    assert (empty.returncode, "no manager was reachable on " in empty.stderr) == (3, True)
    daemon()
    none = run("wait", "vendor.com/gpu", "--timeout", "3")
    reason = "vendor.com/gpu did not reach endpoint serving within 3 s: there is no such resource; there are none"
    assert (none.returncode, none.stderr) == (1, f"Error: {reason}\n")
    plugin()
    assert run("wait", "vendor.com/gpu", "--capacity", "1").returncode == 0
    few = run("wait", "vendor.com/gpu", "--allocatable", "2", "--capacity", "2", "--timeout", "3")
    counts = "capacity 1, allocatable 1, allocated 0, available 1, endpoint serving"
    reason = f"vendor.com/gpu did not reach capacity 2, allocatable 2 within 3 s: {counts}"
    assert (few.returncode, few.stderr) == (1, f"Error: {reason}\n")
    misspelt = run("wait", "vendor.com/gpus", "--timeout", "3")
    assert misspelt.stderr.endswith("there is no such resource; did you mean vendor.com/gpu?\n")
