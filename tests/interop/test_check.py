"""The conformance checks against plug-ins that have none of our code, as their authors would run them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

from .conftest import HERE, built

GADGET = "interop.example/gadget"
SAMPLE = "k8s.io/kubernetes/test/images/sample-device-plugin"


def check(*arguments):
    """Exit status, and the verdicts by check; in less time than the README's figures were made in."""
    command = [
        sys.executable,
        "-m",
        "devicemgr",
        "check",
        "-o",
        "json",
        "--restarts",
        "5",
        "--quiet",
        "3",
        *map(str, arguments),
    ]
    env = {name: value for name, value in os.environ.items() if name != "GITHUB_ACTIONS"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=220, env=env)
    assert done.stdout, done.stderr
    return done.returncode, {result["check"]: result for result in json.loads(done.stdout)["results"]}


def not_passed(results):
    return {name: result["evidence"] for name, result in results.items() if result["verdict"] != "passed"}


def test_our_peers_pass_all_checks(plugin):
    status, results = check(
        *("--", *plugin.command, "--directory", "{dir}", "--resource", GADGET),
        *("--count", "4", "--pre-start", "--preferred"),
    )
    assert status == 0, not_passed(results)
    assert set(not_passed(results)) == {"allocate-unhealthy", "lists-complete", "changes-arrive"}, "they never change"


def test_the_simulated_plugin_as_a_program_passes_every_single_one():
    command = [
        sys.executable,
        "-m",
        "devicemgr",
        "plugin",
        "--root-dir",
        "{dir}/..",
        "--script",
        HERE / "simulated.yaml",
    ]
    status, results = check("--change", 'kill -HUP "$DEVICE_PLUGIN_PID"', "--", *command)
    assert (status, not_passed(results)) == (0, {})


@pytest.fixture(scope="module")
def upstream_sample(tmp_path_factory):
    """Kubernetes' own sample plug-in, which knows no other directory than the kubelet's."""
    sample = built(tmp_path_factory, "upstream_plugin", SAMPLE)
    allowed = subprocess.run(["unshare", "--mount", "true"], capture_output=True) if shutil.which("unshare") else None
    if allowed is None or allowed.returncode:
        pytest.skip("this plug-in has the kubelet's directory compiled in, and mount namespaces are not allowed here")
    return sample


@pytest.mark.timeout(240, func_only=True)
def test_kubernetes_own_sample_misses_its_own_socket_and_is_slow_to_come_back(upstream_sample):
    """It watches for a new kubelet.sock alone, and waits ten seconds then: that long a node has no devices."""
    status, results = check("--isolate", "--patience", "15", "--", upstream_sample)
    assert status == 1, not_passed(results)
    assert results["socket-deleted"]["verdict"] == "failed"
    assert set(not_passed(results)) == {
        "socket-deleted",
        *("allocate-unhealthy", "preferred-allocation", "pre-start", "lists-complete"),
        *("permissions", "cdi-names", "changes-arrive"),
    }
    assert "after 2 restarts" in results["descriptors"]["evidence"]
    assert 5 < results["restart"]["seconds"] < 15
