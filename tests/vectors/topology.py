"""The groups about NUMA: masks, hints, merging, policies and their configuration."""

from __future__ import annotations

from collections import Counter

import pytest

from devicemgr.core.devices.endpoint import Endpoint
from devicemgr.core.devices.store import DeviceStore
from devicemgr.core.topology.alignment import align
from devicemgr.core.topology.hints import Hint, candidate_nodes, container_hints, generate_hints, pod_hints, pod_request
from devicemgr.core.topology.merge import Fitness, filter_single_numa_hints, widest_need
from devicemgr.core.topology.numa import Numa, mask_of, nodes_of, subsets
from devicemgr.core.topology.policy import Policy, Topology, check_distances, parse_options, parse_topology
from devicemgr.errors import UnusableTopology
from devicemgr.model import Container, ContainerKind, Device, Owner, Pod, RunOptions
from tests.helpers import apply_list

from .better import better


def hint_of(value):
    affinity = value["affinity"]
    return Hint(None if affinity is None else mask_of(affinity), value["preferred"])


def data_of(hint):
    affinity = None if hint.affinity is None else list(nodes_of(hint.affinity))
    return {"affinity": affinity, "preferred": hint.preferred}


def distances_of(case):
    return {int(node): tuple(row) for node, row in case["numa_distances"].items() if row}


def tuples(devices):
    return {id: None if nodes is None else tuple(nodes) for id, nodes in devices.items()}


def hint_merge(case):
    """CC-123…CC-127."""
    numa = Numa(nodes=tuple(case["numa_nodes"]), distances=distances_of(case))
    topology = Topology(policy=Policy(case["policy"]), prefer_closest=case["prefer_closest_numa"], numa=numa)
    providers = [
        provider and {name: None if hints is None else list(map(hint_of, hints)) for name, hints in provider.items()}
        for provider in case["providers"]
    ]
    found = align(topology, providers)
    assert (data_of(found.hint), found.admit) == (case["expect"]["hint"], case["expect"]["admit"])


def single_numa_filter(case):
    """CC-129."""
    left = [[data_of(hint) for hint in filter_single_numa_hints(map(hint_of, hints))] for hints in case["hints"]]
    assert left == case["expect"]


def max_of_min_affinity(case):
    """CC-130."""
    assert widest_need([[hint_of(hint) for hint in hints] for hints in case["hints"]]) == case["expect"]


def better_hint(fitness, current, candidate):
    """TM-12: an empty mask is never better; here a merge has left those out before it compares."""
    if not candidate.affinity:
        return current
    if current is None or not current.affinity:
        return candidate
    return min(current, candidate, key=fitness.of_hint)


def hint_compare(case):
    """CC-131."""
    current = case["current"] and hint_of(case["current"])
    candidate = hint_of(case["candidate"])
    fitness = Fitness(numa=Numa(), widest_need=case["best_non_preferred_affinity_count"])
    better = better_hint(fitness, current, candidate)
    assert ("candidate" if better is candidate else "current") == case["expect"]


def avg_numa_distance(case):
    """CC-132."""
    average = Numa(distances=distances_of(case)).average_distance(mask_of(case["mask"]))
    assert average == pytest.approx(case["expect"])


def closest_mask(case):
    """CC-132."""
    fitness = Fitness(numa=Numa(distances=distances_of(case)), prefer_closest=True)
    current, candidate = Hint(mask_of(case["current"]), True), Hint(mask_of(case["candidate"]), True)
    better = better_hint(fitness, current, candidate)
    assert ("candidate" if better is candidate else "current") == case["expect"]


def numa_of(topology):
    return Numa(
        nodes=tuple(node["id"] for node in topology),
        distances={node["id"]: tuple(node["distances"]) for node in topology if node["distances"]},
    )


def numa_info(case):
    """CC-133."""
    numa = numa_of(case["topology"])
    if "error" in case["expect"]:
        with pytest.raises(UnusableTopology) as caught:
            check_distances(numa)
        assert caught.value.code == case["expect"]["error"]
        return
    if case["prefer_closest_numa"]:
        check_distances(numa)
    assert list(numa.nodes) == case["expect"]["nodes"]
    known = {int(node): row and tuple(row) for node, row in case["expect"]["numa_distances"].items()}
    assert {node: numa.distances.get(node) for node in numa.nodes} == known


def bitmask(case):
    """CC-140."""
    match case["op"]:
        case "narrower_than":
            first, second = (Fitness(numa=Numa()).of_mask(mask_of(case[name])) for name in ("first", "second"))
            assert (first < second) == case["expect"]
        case "less_than":
            assert (mask_of(case["first"]) < mask_of(case["second"])) == case["expect"]
        case "greater_than":
            assert (mask_of(case["first"]) > mask_of(case["second"])) == case["expect"]
        case "iterate_count":
            assert len(list(subsets(case["bits"]))) == case["expect"]
        case "iterate_order":
            assert [list(nodes_of(mask)) for mask in subsets(case["bits"])] == case["expect"]
        case "new":  # LIM-18: a node above 63 is a node like any other, where the kubelet's mask has no bit for it
            expect = better(case["expect"], kubelet="error: bit outside 0..63", ours=case["bits"])
            assert list(nodes_of(mask_of(case["bits"]))) == expect
        case other:
            pytest.fail(f"unknown operation {other}")


def policy_options(case):
    """CC-135."""
    expect = case["expect"]
    if "error" in expect:
        with pytest.raises(UnusableTopology) as caught:
            parse_options(case["options"])
        assert caught.value.code == expect["error"]
    else:
        assert parse_options(case["options"]) == (expect["prefer_closest_numa"], expect["max_allowable_numa_nodes"])


def topology_manager_config(case):
    """CC-134."""

    def configured():
        return parse_topology(case["policy"], case["scope"], case["options"], numa_of(case["topology"]))

    if "error" in case["expect"]:
        with pytest.raises(UnusableTopology) as caught:
            configured()
        assert caught.value.code == case["expect"]["error"]
    else:
        found = configured()
        assert {"policy": found.policy, "scope": found.scope} == case["expect"]


def device_topology_hints(case):
    """TM-6, CC-116, CC-117."""
    store = DeviceStore()
    for resource, devices in case["devices"].items():
        store.connect(Endpoint(resource=resource, generation=1, socket="a.sock"))
        apply_list(store, resource, 1, [Device(id=id, numa_nodes=nodes) for id, nodes in tuples(devices).items()])
    for uid, containers in case["allocated"].items():
        for container, resources in containers.items():
            for resource, ids in resources.items():
                store.reserve(Owner(uid, container), resource, ids)
                store.commit(Owner(uid, container), resource, tuple(ids), RunOptions())
    containers = [
        Container(name=one["name"], kind=kind, limits=one["limits"])
        for kind, key in ((ContainerKind.INIT, "init_containers"), (ContainerKind.MAIN, "containers"))
        for one in case[key]
    ]
    # In the pod-scope cases other containers of the pod may hold devices without being part of its spec.
    names = {container.name for container in containers}
    others = [Container(name=name) for name in case["allocated"].get(case["pod_uid"], {}) if name not in names]
    numa = Numa(nodes=tuple(case["numa_nodes"]))
    if case["scope"] == "pod":
        found = pod_hints(store, Pod(name="p", uid=case["pod_uid"], containers=(*containers, *others)), numa)
    else:
        container = next(c for c in containers if c.name == case["container_under_test"])
        found = container_hints(store, Owner(case["pod_uid"], container.name), container, {}, numa)
    assert {name: hints and _sorted(map(data_of, hints)) for name, hints in found.items()} == {
        name: hints and _sorted(hints) for name, hints in case["expect"].items()
    }


def _sorted(hints):
    return sorted(hints, key=lambda hint: hint["affinity"])


def generate_device_hints(case):
    """CC-121, CC-122."""
    places = {id: frozenset(nodes or ()) for id, nodes in case["devices"].items()}
    found = generate_hints(
        Counter(places[id] for id in case["available"]),
        reusable=[places[id] for id in case["reusable"]],
        request=case["request"],
        nodes=candidate_nodes(places.values(), case["numa_nodes"]),
        possible=Counter(places.values()),
    )
    assert [data_of(hint) for hint in found] == case["expect"]


def device_numa_nodes(case):
    """CC-120."""
    places = [frozenset(nodes or ()) for nodes in case["devices"].values()]
    assert list(candidate_nodes(places, case["machine_numa_nodes"])) == case["expect"]


def pod_device_request(case):
    """CC-119."""
    kinds = {True: ContainerKind.SIDECAR, False: ContainerKind.INIT}
    inits = [
        Container(name=f"init-{n}", kind=kinds[one["restart_always"]], limits=one["limits"])
        for n, one in enumerate(case["init_containers"])
    ]
    mains = [Container(name=f"main-{n}", limits=limits) for n, limits in enumerate(case["containers"])]
    request = pod_request([*inits, *mains])
    assert {name: count for name, count in request.items() if name in case["registered"]} == case["expect"]


RUNNERS = (
    hint_merge,
    single_numa_filter,
    max_of_min_affinity,
    hint_compare,
    avg_numa_distance,
    closest_mask,
    numa_info,
    bitmask,
    policy_options,
    topology_manager_config,
    device_topology_hints,
    generate_device_hints,
    device_numa_nodes,
    pod_device_request,
)
