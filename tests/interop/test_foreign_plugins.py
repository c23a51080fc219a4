"""The real daemon with device plug-ins that have none of its code: on grpcio, on grpc-go, on tonic.

Everything is a process of its own, and is looked at only from outside: sockets, verbs, signals, exit status.
"""

from __future__ import annotations

from .conftest import wait_until

GADGET = "interop.example/gadget"
ALL_FREE = {"capacity": 4, "allocatable": 4, "allocated": 0, "available": 4, "endpoint": "serving", "standbys": []}


def devices_by_pod(status):
    return {pod["name"]: pod["containers"][0]["devices"].get(GADGET) for pod in status["pods"]}


def test_a_registered_plugin_is_published_with_its_devices(node, plugin):
    node.start_daemon()
    plugin.start(node, resource=GADGET, count=4)
    node.wait_for_resource(GADGET, allocatable=4)
    status = node.status()
    assert (status["resources"], status["pods"]) == ({GADGET: ALL_FREE}, [])


def test_an_admitted_pod_gets_exactly_what_the_plugin_answered(node, plugin):
    node.start_daemon()
    process = plugin.start(node, resource=GADGET, count=4)
    node.wait_for_resource(GADGET, allocatable=4)

    exit_status, answer = node.admit("training", {GADGET: 2})

    assert exit_status == 0
    assert answer["admitted"] is True
    assert answer["containers"] == [
        {
            "name": "main",
            "devices": {GADGET: ["dev-0", "dev-1"]},
            "envs": {plugin.env: "dev-0,dev-1"},
            "mounts": [{"container_path": "/run/firmware", "host_path": "/lib/firmware", "read_only": True}],
            "device_specs": [
                {"container_path": "/dev/dev-0", "host_path": "/dev/null", "permissions": "rw"},
                {"container_path": "/dev/dev-1", "host_path": "/dev/null", "permissions": "rw"},
            ],
            "annotations": {},
            "cdi_devices": [f"{GADGET}=all"],
        }
    ]
    status = node.status()
    assert status["resources"][GADGET] == ALL_FREE | {"allocated": 2, "available": 2}
    assert devices_by_pod(status) == {"training": ["dev-0", "dev-1"]}
    assert process.output.splitlines() == ["registered", "Allocate dev-0,dev-1"], "no optional call was asked for"


def test_pre_start_and_preferred_allocation_are_called_when_the_options_ask_for_them(node, plugin):
    node.start_daemon()
    process = plugin.start(node, "--pre-start", "--preferred", resource=GADGET, count=4)
    node.wait_for_resource(GADGET, allocatable=4)

    exit_status, answer = node.admit("training", {GADGET: 2})

    assert exit_status == 0
    assert answer["containers"][0]["devices"] == {GADGET: ["dev-2", "dev-3"]}, "this plug-in prefers the last ones"
    calls = [line.split() for line in process.output.splitlines()]
    assert [call[0] for call in calls] == ["registered", "GetPreferredAllocation", "Allocate", "PreStartContainer"]
    assert calls[1][1:] == ["dev-0,dev-1,dev-2,dev-3", "2"]
    assert set(calls[2][1].split(",")) == {"dev-2", "dev-3"}
    assert calls[3][1:] == ["dev-2,dev-3"]


def test_a_pod_with_an_unknown_resource_is_refused_and_keeps_nothing(node, plugin):
    node.start_daemon()
    plugin.start(node, resource=GADGET, count=4)
    node.wait_for_resource(GADGET, allocatable=4)

    exit_status, answer = node.admit("training", {GADGET: 2, "interop.example/unknown": 1})

    assert exit_status == 1
    assert answer["admitted"] is False
    assert answer["reason"] == "UnexpectedAdmissionError"
    assert "interop.example/unknown is not known to this node" in answer["message"]
    status = node.status()
    assert (status["resources"], status["pods"]) == ({GADGET: ALL_FREE}, [])
    assert node.admit("next", {GADGET: 4})[0] == 0


def test_a_killed_plugin_leaves_its_capacity_and_takes_its_allocatable(node, plugin):
    node.start_daemon()
    process = plugin.start(node, resource=GADGET, count=4)
    node.wait_for_resource(GADGET, allocatable=4)

    process.kill()

    node.wait_for_resource(GADGET, capacity=4, allocatable=0, endpoint="stopped")
    exit_status, answer = node.admit("late", {GADGET: 1})
    assert exit_status == 1
    assert answer["admitted"] is False
    assert "no healthy devices present" in answer["message"]


def test_a_pod_holds_the_same_devices_after_its_plugin_was_killed_and_restarted(node, plugin):
    """CC-104."""
    node.start_daemon()
    process = plugin.start(node, resource=GADGET, count=4)
    node.wait_for_resource(GADGET, allocatable=4)
    _, before = node.admit("training", {GADGET: 2})
    process.kill()
    node.wait_for_resource(GADGET, endpoint="stopped", allocatable=0)
    assert devices_by_pod(node.status()) == {"training": ["dev-0", "dev-1"]}

    restarted = plugin.start(node, resource=GADGET, count=4)

    node.wait_for_resource(GADGET, capacity=4, allocatable=4, allocated=2, available=2, endpoint="serving")
    assert devices_by_pod(node.status()) == {"training": ["dev-0", "dev-1"]}
    assert node.admit("training", {GADGET: 2}) == (0, before), "admitting it again changes nothing"
    _, other = node.admit("other", {GADGET: 2})
    assert other["containers"][0]["devices"] == {GADGET: ["dev-2", "dev-3"]}
    assert restarted.output.splitlines() == ["registered", "Allocate dev-2,dev-3"]


def test_a_plugin_removes_the_sockets_of_its_killed_processes_only(node, plugin):
    node.start_daemon()
    alive = plugin.start(node, resource=GADGET, count=4)
    node.wait_for_events("PluginRegistered", 1)
    for registrations in (2, 3):
        killed = plugin.start(node, resource=GADGET, count=4)
        node.wait_for_events("PluginRegistered", registrations)
        killed.kill()
    plugin.start(node, resource=GADGET, count=4)
    node.wait_for_events("PluginRegistered", 4)
    registered = [event["endpoint"] for event in node.events("PluginRegistered")]
    assert len(set(registered)) == 4, "each process has a name of its own"
    assert {path.name for path in node.plugins.glob("*-*.sock")} == {registered[0], registered[3]}
    assert alive.is_running


def test_a_rolling_update_never_loses_a_device(node, plugin):
    """The end of the old stream says nothing about the new endpoint (LIM-4)."""
    node.start_daemon()
    old = plugin.start(node, resource=GADGET, count=4, endpoint="old.sock")
    node.wait_for_resource(GADGET, allocatable=4)
    new = plugin.start(node, resource=GADGET, count=4, endpoint="new.sock")
    node.wait_for_events("DeviceListApplied", 2)
    assert node.status()["resources"] == {GADGET: ALL_FREE | {"standbys": ["old.sock"]}}

    old.kill()
    node.wait_for_events("PluginEnded", 1)

    exit_status, answer = node.admit("training", {GADGET: 4})
    assert exit_status == 0
    assert answer["containers"][0]["devices"] == {GADGET: ["dev-0", "dev-1", "dev-2", "dev-3"]}
    assert node.status()["resources"] == {GADGET: ALL_FREE | {"allocated": 4, "available": 0}}
    assert node.events("EndpointStopped") == []
    assert [event["replaced"] for event in node.events("PluginRegistered")] == [False, True]
    assert "Allocate" in new.output
    assert "Allocate" not in old.output


def test_neither_does_one_that_is_undone(node, plugin):
    """CC-160: the old process has been connected all the time, and serves on."""
    node.start_daemon()
    old = plugin.start(node, resource=GADGET, count=4, endpoint="old.sock")
    node.wait_for_resource(GADGET, allocatable=4)
    new = plugin.start(node, resource=GADGET, count=4, endpoint="new.sock")
    node.wait_for_events("DeviceListApplied", 2)
    assert node.admit("training", {GADGET: 2})[0] == 0

    new.kill()
    node.wait_for_events("PluginPromoted", 1)

    assert node.admit("other", {GADGET: 2})[0] == 0
    assert node.status()["resources"] == {GADGET: ALL_FREE | {"allocated": 4, "available": 0}}
    assert node.events("EndpointStopped") == []
    assert node.events("DeviceHealthChanged") == []
    assert len(node.events("PluginRegistered")) == 2
    assert ("Allocate" in new.output, "Allocate" in old.output) == (True, True)


def test_a_plugin_registers_again_by_itself_when_the_manager_is_restarted(node, plugin):
    """REG-22, CC-101."""
    daemon = node.start_daemon()
    process = plugin.start(node, resource=GADGET, count=4)
    node.wait_for_resource(GADGET, allocatable=4)

    assert daemon.terminate() == 0
    assert not any(socket.exists() for socket in node.sockets)
    assert process.is_running, "only the manager was stopped"
    node.start_daemon()

    node.wait_for_resource(GADGET, **ALL_FREE)
    wait_until(lambda: process.output.count("registered") == 2, lambda: process.output)  # it may say so a little later
    assert node.admit("training", {GADGET: 2})[0] == 0
    assert process.output.count("registered") == 2
