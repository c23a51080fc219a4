"""The conformance checks against plug-ins that have none of our code, as their authors would run them."""

from __future__ import annotations

import pytest

from .checking import check
from .conftest import skipped_where_it_cannot_be_had
from .plugins_met import PEERS, SAMPLE, SIMULATED

QUICKLY = ("--restarts", "5", "--quiet-period", "3")
"""In less time than the README's figures were made in."""


@pytest.fixture
def run(request, tmp_path):
    """``run()`` is what the checks say of the plug-in of the parameter, which is made here."""
    met = request.param
    with skipped_where_it_cannot_be_had():
        command = met.command(tmp_path)
    return lambda: check([*QUICKLY, *met.options], command)


@pytest.mark.parametrize("run", PEERS.values(), ids=PEERS, indirect=True)
def test_our_peers_pass_all_checks(run):
    said = run()
    assert said.status == 0, said.broken
    assert set(said.not_passed) == {
        *("allocate-unhealthy", "lists-complete", "changes-arrive"),  # they never change
        "stream-lost",
    }


@pytest.mark.parametrize("run", [SIMULATED], ids=["simulated"], indirect=True)
def test_the_simulated_plugin_as_a_program_passes_every_single_one(run):
    said = run()
    assert said.not_passed.keys() == {"stream-lost"}, said.broken
    assert said.status == 0


@pytest.mark.parametrize("run", [SAMPLE], ids=["sample"], indirect=True)
def test_kubernetes_own_sample_misses_its_own_socket_and_is_slow_to_come_back(run):
    """It watches for a new kubelet.sock alone, and waits ten seconds then: that long a node has no devices."""
    said = run()
    assert said.status == 1, said.broken
    assert said.results["socket-deleted"]["verdict"] == "failed"
    assert said.results["stream-lost"]["verdict"] == "warning"
    assert set(said.not_passed) == {
        *("socket-deleted", "stream-lost"),
        *("allocate-unhealthy", "preferred-allocation", "pre-start", "lists-complete"),
        *("permissions", "cdi-names", "changes-arrive"),
    }
    assert "after 2 restarts" in said.results["descriptors"]["evidence"]
    assert said.results["restart"]["seconds"] > 5
