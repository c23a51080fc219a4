"""Which pods end so that a critical one may run."""

from __future__ import annotations

import re

import pytest

from devicemgr.cluster.objects.preemption import CRITICAL, is_critical, pods_to_preempt
from devicemgr.cluster.objects.requests import Requests


def pod(name: str, kind: str = "Burstable", priority: int | None = None, **requests: str) -> dict:
    return {
        "metadata": {"name": name},
        "spec": {"priority": priority, "containers": [{"name": "c", "resources": {"requests": requests}}]},
        "status": {"qosClass": kind},
    }


SYSTEM = pod("critical", priority=CRITICAL)
BEST = [pod("best-1", "BestEffort"), pod("best-2", "BestEffort")]
SMALL, LARGE = pod("small", cpu="1", memory="1k"), pod("large", cpu="3", memory="1k")
GUARANTEED = pod("guaranteed", "Guaranteed", cpu="2", memory="2k")


@pytest.mark.parametrize(
    ("others", "missing", "chosen"),
    [
        ([*BEST, SMALL, LARGE, GUARANTEED], {"cpu": 500}, ["small"]),
        ([*BEST, SMALL, LARGE, GUARANTEED], {"cpu": 2000}, ["large"]),
        ([*BEST, SMALL, LARGE, GUARANTEED], {"cpu": 4000}, ["large", "small"]),
        ([*BEST, SMALL, LARGE, GUARANTEED], {"cpu": 5000}, ["large", "guaranteed"]),
        ([*BEST, SMALL, LARGE, GUARANTEED], {"pods": 1}, ["best-1"]),
        ([SMALL, LARGE, GUARANTEED], {"pods": 1}, ["small"]),
        ([SMALL, pod("memory", memory="2k")], {"cpu": 1000, "memory": 2000}, ["small", "memory"]),
        ([SMALL, pod("other", cpu="1", priority=CRITICAL)], {"cpu": 1000}, ["small"]),
    ],
)
def test_as_few_as_possible_of_the_least_important_kinds(others, missing, chosen):
    assert [one["metadata"]["name"] for one in pods_to_preempt(SYSTEM, others, Requests(missing))] == chosen


def test_no_pod_ends_if_all_together_have_too_little():
    text = "no set of running pods found to reclaim resources: [(res: cpu, q: 1000), ]"
    with pytest.raises(ValueError, match=re.escape(text)):
        pods_to_preempt(SYSTEM, [SMALL, pod("other", cpu="9", priority=CRITICAL)], Requests(cpu=2000))


def test_of_critical_pods_the_more_important_one_runs():
    node = pod("node", priority=CRITICAL + 1000)
    found = pods_to_preempt(node, [pod("other", cpu="9", priority=CRITICAL)], Requests(cpu=2000))
    assert [one["metadata"]["name"] for one in found] == ["other"]


def test_who_is_critical():
    assert [is_critical(pod("p", priority=number)) for number in (None, 0, CRITICAL - 1, CRITICAL)] == [
        False,
        False,
        False,
        True,
    ]
