"""A wrong argument is an error of the call, with its name and what is wrong; and the manager goes on."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from devicemgr import (
    Container,
    Deadlines,
    Device,
    Fault,
    NodeStatus,
    Numa,
    PeerLimits,
    Pod,
    Topology,
    open_device_manager,
    open_portal,
)
from devicemgr.arguments import checked
from devicemgr.testing import Script, open_registered_plugin, open_simulated_plugin

GPU = "vendor.com/gpu"
OPENED = {
    "topology": "restricted",
    "deadlines": {"allocate": 3},
    "peer_limits": {"devices": 3},
    "callers": 0,
    "metrics_address": "127.0.0.1:9400",
    "sinks": [None],
    "grace": "300",
}
MADE = {
    "Pod: uid must be a str, not 1": lambda: Pod(name="p", uid=1, containers=()),
    "Pod: containers must be a tuple, not 'main'": lambda: Pod(name="p", uid="u", containers="main"),
    r"Pod: containers\[0\] must be a Container\(name=…, kind": lambda: Pod(name="p", uid="u", containers=("main",)),
    r"Container: limits\['vendor.com/gpu'\]=-1: must be at least 0": lambda: Container(name="c", limits={GPU: -1}),
    r"Container: limits\['vendor.com/gpu'\] must be a whole n": lambda: Container(name="c", limits={GPU: "1"}),
    "Container: kind must be one of ContainerKind.INIT, Con": lambda: Container(name="c", kind="init"),
    "Pod: uid='.ud800': is no Unicode: surrogates": lambda: Pod(name="p", uid="\ud800", containers=()),
    "Container: name='.ud800': is no Unicode": lambda: Container(name="\ud800"),
    "Device: numa_nodes must be a tuple or None, not 0": lambda: Device(id="d", numa_nodes=0),
    "Topology: policy must be one of Policy.NONE": lambda: Topology(policy="restricted"),
    r"Numa: nodes=\(1, 0\): must be in ascending order": lambda: Numa(nodes=(1, 0)),
    r"Numa: nodes\[0\]=-1: must be at least 0": lambda: Numa(nodes=(-1,)),
    "Deadlines: allocate=-1: must be at least 0": lambda: Deadlines(allocate=-1),
    "Fault: seconds=inf: must be finite": lambda: Fault(name="restart", seconds=math.inf),
    "Deadlines: dial=nan: must be at least 0": lambda: Deadlines(dial=math.nan),
    "PeerLimits: devices must be a whole number, not True": lambda: PeerLimits(devices=True),
    "Fault: times=0: must be at least 1": lambda: Fault(name="fail-calls", times=0),
    "NodeStatus: allocatable must be a mapping, not None": lambda: NodeStatus(capacity={}, allocatable=None),
    "Script: repeat=-1: must be at least 0": lambda: Script(resource=GPU, repeat=-1),
}
ASKED = {
    r"wait_for_resource\(\): resource='gpu': it has no domain": lambda m: m.wait_for_resource("gpu"),
    r"wait_for_resource\(\): resource='a.b/x y': 'x y' is not": lambda m: m.wait_for_resource("a.b/x y"),
    r"wait_for_resource\(\): allocatable=-1: must be": lambda m: m.wait_for_resource(GPU, allocatable=-1),
    r"wait_for_resource\(\): timeout=-1: must be": lambda m: m.wait_for_resource(GPU, timeout=-1),
    r"wait_for_resource\(\): timeout=nan: must be": lambda m: m.wait_for_resource(GPU, timeout=math.nan),
    r"admit\(\): pod must be a Pod\(name=….* or a mapping or a str, not 3": lambda m: m.admit(3),
    r"start_container\(\): pod must be a Pod\(name=….*, not 'uid'": lambda m: m.start_container("uid", {}),
    r"start_container\(\): container must be a Container\(": lambda m: m.start_container(POD, {"name": "c"}),
    r"retain\(\): uids must be an iterable, not 'uid-1'": lambda m: m.retain("uid-1"),
    r"retain\(\): uids\[1\] must be a str, not 2": lambda m: m.retain(uid for uid in ("1", 2)),
    r"remove\(\): name must be a str, not None": lambda m: m.remove("default", None),
    r"explain\(\): name must be a str": lambda m: m.explain("default", 1),
    r"events_after\(\): sequence=-1: must be at least 0": lambda m: m.events_after(-1, wait=False),
    r"restart\(\): delay=-1: must be at least 0": lambda m: m.faults.restart(delay=-1),
    r"delay_calls\(\): seconds=-1: must": lambda m: m.faults.delay_calls("allocate", -1),
    r"fail_calls\(\): times=0: must be at least 1": lambda m: m.faults.fail_calls("allocate", times=0),
    r"advance_clock\(\): seconds=-1: must be at least 0": lambda m: m.faults.advance_clock(-1),
    r"inject\(\): fault must be a Fault\(name=…": lambda m: m.faults.inject("restart"),
}
POD = Pod(name="p", uid="u", containers=())
WRONG = (TypeError, ValueError)


@pytest.mark.parametrize(("name", "value"), OPENED.items())
def test_a_manager_is_not_opened_with_what_it_cannot_use(name, value):
    with pytest.raises(TypeError, match=rf"^open_device_manager\(\): {name}(\[0\])? must be "):
        open_device_manager("/nowhere", **{name: value})


@pytest.mark.parametrize(
    "settings",
    [
        {"restart_wait": -1},
        {"grace": math.nan},
        {"metrics_address": ("h", 70000)},
        {"node_resources": {"a.com/b": -1}},
        {"kubernetes_version": "1.35"},
    ],
)
def test_nor_with_numbers_out_of_range(settings):
    with pytest.raises(ValueError, match=rf"^open_device_manager\(\): {next(iter(settings))}"):
        open_device_manager("/nowhere", **settings)


@pytest.mark.parametrize("kind", [str, Path])
@pytest.mark.parametrize("path", ["~/node", "~", "a\0b"])
def test_a_root_directory_is_nowhere_by_accident(kind, path):
    """A str that is empty was the working directory; an empty Path is that, as Python has it."""
    for given in (kind(path), ""):
        with pytest.raises(ValueError, match=r"^open_device_manager\(\): root_dir=.*: (has a|must not be empty)"):
            open_device_manager(given)


@pytest.mark.parametrize(("problem", "make"), MADE.items())
def test_an_impossible_value_cannot_be_made(problem, make):
    with pytest.raises(WRONG, match=f"^{problem}"):
        make()


async def test_a_wrong_argument_is_reported_and_the_manager_goes_on(manager):
    for problem, ask in ASKED.items():
        with pytest.raises(WRONG, match=f"^{problem}"):
            ask(manager)  # the call, before anybody awaits it
    with pytest.raises(ValueError, match="devices=-1: must be at least 0"):
        open_simulated_plugin(manager.layout.plugins, GPU, devices=-1)
    with pytest.raises(ValueError, match="resource='gpu': it has no domain"):
        open_registered_plugin(manager, "gpu")
    async with open_registered_plugin(manager, GPU, devices=2) as plugin:
        with pytest.raises(TypeError, match=r"set_devices\(\): devices\[0\] must be a Device\(id=…, health"):
            plugin.set_devices(["dev-0"])
        assert (await manager.wait_for_resource(GPU)).allocatable == 2


def test_through_a_portal_it_is_the_same(root_dir):
    with open_portal() as portal, portal.manager(open_device_manager(root_dir)) as manager:
        for problem, ask in ASKED.items():
            with pytest.raises(WRONG, match=f"^{problem}"):
                ask(manager)
        with pytest.raises(TypeError, match=r"manager\(\): opened must be a"):
            portal.manager(manager)
        assert manager.capacity() == {}


def test_a_wrong_number_of_arguments_fails_as_in_python():
    @checked
    def one(number: int) -> int:
        return number

    with pytest.raises(TypeError, match="missing 1 required positional argument: 'number'"):
        one()
    assert one(3) == 3
