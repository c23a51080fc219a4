"""The groups about names that users rely on: feature gates, metrics, and the resources in a pod's status."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client import Counter, Histogram

from devicemgr.concurrency.steps import run_steps
from devicemgr.core.devices.endpoint import Endpoint
from devicemgr.core.devices.store import DeviceStore
from devicemgr.core.topology.policy import Policy
from devicemgr.core.views.pod_status import pod_statuses
from devicemgr.daemon.serving.metrics import Metrics
from devicemgr.kubernetes_versions import VERSIONS, why_kubelet_refuses
from devicemgr.model import Container, Device, Owner, Pod, RunOptions
from devicemgr.rules import book
from tests.helpers import apply_list

BOOK = Path(book.__file__).parent


def rows(page, columns):
    """The tables of a page with so many columns, without their first two lines."""
    lines = (BOOK / page).read_text(encoding="utf-8").splitlines()
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return [row for row in found if len(row) == columns and not set(row[0]) <= set("-")]


def gates():
    """By gate and version, the book's words for its stage."""
    return {
        name: {"1.36": old, "1.37": old if new == "the same" else new}
        for names, old, new, _ in rows("gates-and-versions.md", 4)
        for name in re.findall(r"`(\w+)`", names)
    }


def in_words(stage):
    if stage is None:
        return "none"
    is_on = "on" if stage["default"] else "off"
    word = "GA" if stage["stage"] == "GA" else stage["stage"].lower()
    return f"{word}, {'locked ' if stage['locked'] else ''}{is_on}"


def feature_gates(case):
    """D37-24: the book's table, and what is said of a gate in a node's configuration."""
    gate = case["gate"]
    for version in VERSIONS:
        stage = case[f"v{version.replace('.', '_')}"]
        assert gates()[gate][version] == in_words(stage)
        for is_on in (True, False):
            if stage is None:
                expect = f"unrecognized feature gate: {gate}"
            elif stage["locked"] and is_on != stage["default"]:
                expect = f"cannot set feature gate {gate} to {str(is_on).lower()}, feature is locked to true"
            else:
                expect = None
            assert why_kubelet_refuses(gate, is_on, version) == expect


def served():
    """The kubelet's metrics that we serve: their type, labels and buckets by name."""
    registry = Metrics(Policy.NONE)._registry
    kinds = {Counter: "counter", Histogram: "histogram"}
    found = {one._name: one for one in registry._collector_to_names if type(one) in kinds}
    return {name: (kinds[type(one)], one._labelnames) for name, one in found.items() if name.startswith("kubelet_")}


def metric_changes(case):
    """MET-1, D37-26. Where nothing changed, ours are the book's; the others are of managers that we do not have."""
    ours, changed = served(), case.get("changed")
    if changed is not None:
        assert changed == []
        listed = {
            f"kubelet_{name.removesuffix('_total')}": (kind, tuple(re.findall(r"\w+", labels)))
            for name, kind, labels, _ in (
                (name.strip("`"), *rest) for name, *rest in rows("metrics.md", 4) if "(without" not in name
            )
            if name != "Name"
        }
        assert ours == listed
    names = {*case.get("renamed", {}), *case.get("renamed", {}).values(), *case.get("added", {})}
    names |= case.get("changed_labels", {}).keys()
    assert not {f"kubelet_{name.removeprefix('kubelet_').removesuffix('_total')}" for name in names} & ours.keys()


def allocated_resources_status_name(case):
    """RHS-1, D37-21: our names are those of resources that the container requests, and valid in each version. Those of
    claims are DRA's."""
    store, requests = DeviceStore(), case["container_requests"]
    limits = {name: count for name, count in requests.items() if count}
    store.add_pod(Pod(name="p", uid="p", containers=(Container(name=case["container"], limits=requests),)))
    for resource, count in limits.items():
        ids = tuple(f"dev-{number}" for number in range(count))
        store.connect(Endpoint(resource=resource, generation=1, socket="a.sock"))
        apply_list(store, resource, 1, [Device(id=id) for id in ids])
        store.reserve(Owner("p", case["container"]), resource, ids)
        store.commit(Owner("p", case["container"]), resource, ids, RunOptions())
    (status,) = run_steps(pod_statuses(store))
    is_ours = case["expect_valid"] and not case["name"].startswith("claim:")
    assert (case["name"] in status.containers[0].health) == is_ours


RUNNERS = (feature_gates, metric_changes, allocated_resources_status_name)
