"""Scripts for simulated plug-ins: how a file is parsed, and the messages about mistakes in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from devicemgr.cli import main
from devicemgr.errors import BadInput
from devicemgr.model import Device, DeviceSpec
from devicemgr.testing import open_simulated_plugin
from devicemgr.testing.plugin.script import parse_scripts

EXAMPLE = Path(__file__).parent.parent.parent.parent / "examples" / "plugin-script.yaml"


def parse(text):
    (script,) = parse_scripts(text, file="s.yaml")
    return script


def test_the_example_is_parsed():
    (script,) = parse_scripts(EXAMPLE.read_text(), file="plugin-script.yaml")
    assert [device.id for device in script.devices] == ["gpu-0", "gpu-1", "gpu-2", "gpu-3", "gpu-old"]
    assert script.options.pre_start_required
    assert script.options.get_preferred_allocation_available
    assert script.answer.device_specs == (DeviceSpec(container_path="/dev/vendor/{id}", host_path="/dev/null"),)
    assert [(rule.call, rule.skip, rule.times) for rule in script.calls[1:]] == [
        ("Allocate", 20, 1),
        ("PreStartContainer", 0, 1),
    ]
    assert [step.on or step.at for step in script.schedule] == ["HUP", "HUP", 3600, 3610, 7200, 7201]
    assert script.repeat == 86400


def test_devices_are_assigned_to_numa_nodes_in_turn():
    script = parse("{resource: a.com/b, devices: [{count: 3, numa: [0, 1]}, {id: x, health: Unhealthy}]}")
    assert script.devices == (
        Device(id="dev-0", numa_nodes=(0,)),
        Device(id="dev-1", numa_nodes=(1,)),
        Device(id="dev-2", numa_nodes=(0,)),
        Device(id="x", health="Unhealthy"),
    )


def test_one_device_may_be_on_several_nodes():
    assert parse("{resource: a.com/b, devices: [{id: x, numa: [0, 1]}]}").devices[0].numa_nodes == (0, 1)


def test_devices_without_a_node_as_plugins_report_them():
    """Some pass on the -1 of sysfs, some an empty topology."""
    script = parse("{resource: a.com/b, devices: [{id: x, numa: [-1]}, {id: y, numa: []}, {count: 1, numa: []}]}")
    assert [device.numa_nodes for device in script.devices] == [(-1,), (), ()]


def test_several_documents_are_several_plugins():
    scripts = parse_scripts("resource: a.com/b\n---\nresource: a.com/c\n", file="s.yaml")
    assert [script.resource for script in scripts] == ["a.com/b", "a.com/c"]


MISTAKES = {
    "": "s.yaml: there is no plug-in",
    "[]": "s.yaml:1: must be a mapping such as {resource: vendor.com/gpu, devices: [{count: 4}]}, not a list",
    "resource: a.com/b\ndevices: 3": "s.yaml:2: devices: must be a list such as [{count: 4, prefix: gpu}], not '3'",
    "resource: a.com/b\ndevices: [3]": "devices[0]: must be a mapping such as {count: 4, prefix: gpu}, not '3'",
    "resource: a.com/b\ndevices: [{id: x, numa: 0}]": "devices[0].numa: must be a list such as [0, 1], not '0'",
    "devices: []": "s.yaml:1: resource is missing, for example vendor.com/gpu",
    "resource: gpu": "s.yaml:1: resource: 'gpu'",
    "resource: a.com/b\ndevice: []": "s.yaml:2: device: is not known here; there are resource, endpoint",
    "resorce: a.com/b": "resorce: is not known here; there are resource, endpoint, devices, options, preferred, "
    "allocate, calls, schedule, repeat; did you mean resource?",
    "resource: a.com/b\ndevices: [{count: 300000000}]": "s.yaml:2: devices[0].count: must be at most 1000000",
    "resource: a.com/b\ndevices: [{}]": "s.yaml:2: devices[0]: write either an id, or a count",
    "resource: a.com/b\ndevices: [{id: x, count: 2}]": "devices[0]: write either an id, or a count",
    "resource: a.com/b\ndevices: [{count: -1}]": "devices[0].count: must be a whole number that is not negative",
    "resource: a.com/b\ndevices: [{id: x}, {id: x}]": "devices[1]: there is already a device 'x'",
    "resource: a.com/b\ndevices: [{count: 1, numa: [x]}]": "devices[0].numa[0]: must be a whole number",
    "resource: a.com/b\npreferred: best": "preferred: must be one of first, last, packed, spread, not 'best'",
    "resource: a.com/b\ncalls: [{delay: 1}]": "calls[0]: call is missing: one of GetDevicePluginOptions,",
    "resource: a.com/b\ncalls: [{call: ListAndWatch}]": "calls[0].call: must be one of",
    "resource: a.com/b\ncalls: [{call: Allocate, ids: [x]}]": "calls[0].ids: is for GetPreferredAllocation",
    "resource: a.com/b\ncalls: [{call: PreStartContainer, answer: {}}]": "calls[0].answer: is for Allocate",
    "resource: a.com/b\ncalls: [{call: Allocate, delay: soon}]": "calls[0].delay: must be a number of seconds",
    "resource: a.com/b\ncalls: [{call: Allocate, hang: 3}]": "calls[0].hang: must be true or false",
    "resource: a.com/b\nallocate: {devices: [{hostPath: /x}]}": "allocate.devices[0]: containerPath is missing",
    "resource: a.com/b\nschedule: [{register: true}]": "schedule[0]: write either at, in seconds, or on, one of HUP",
    "resource: a.com/b\nschedule: [{at: 1}]": "schedule[0]: nothing happens in this step",
    "resource: a.com/b\nschedule: [{at: .inf, crash: true}]": "schedule[0].at: must be a number of seconds",
    "resource: a.com/b\nschedule: [{on: KILL, crash: true}]": "schedule[0].on: must be one of HUP, USR1, USR2",
    "resource: a.com/b\nschedule: [{at: 1, unhealthy: [x]}]": "schedule[0]: there is no device 'x'",
    "resource: a.com/b\nendpoint: ../x.sock": "s.yaml:2: endpoint: must be a plain file name, not '../x.sock'",
    "resource: a.com/b\nendpoint: kubelet.sock": "s.yaml:2: endpoint: kubelet.sock is the manager's own socket",
    "resource: a.com/b\n---\nresource: a.com/b": "s.yaml:3: resource: a.com/b is already served by an earlier document",
    "resource: a.com/b\nendpoint: x\n---\nresource: a.com/c\nendpoint: x": "endpoint 'x' is already that of a.com/b",
    "resource: a.com/b\ncalls: [{call: Allocate, status: ABORTED}]": "calls[0].status: is the status of an error",
    "resource: a.com/b\ncalls: [{call: Allocate, error: x, status: OK}]": "calls[0].status: must be one of CANCELLED",
    "resource: a.com/b\nrepeat: 5\nschedule: [{at: 5, crash: true}]": "s.yaml:2: repeat: the schedule has a step at 5",
}


@pytest.mark.parametrize("text", MISTAKES, ids=lambda text: text.replace("\n", "; ") or "empty")
def test_a_mistake_is_reported_with_its_place(text):
    with pytest.raises(BadInput) as caught:
        parse_scripts(text, file="s.yaml")
    assert MISTAKES[text] in str(caught.value)


PLACES = ["devices: @", "devices: [@]", "devices: [{id: x, numa: @}]", "options: @", "calls: @", "calls: [@]"]
PLACES += ["calls: [{call: Allocate, devices: @}]", "calls: [{call: Allocate, answer: @}]"]
PLACES += ["calls: [{call: GetPreferredAllocation, ids: @}]"]
PLACES += ["allocate: @", "allocate: {envs: @}", "allocate: {annotations: @}", "allocate: {cdiDevices: @}"]
PLACES += [f"allocate: {{{of}}}" for of in ("mounts: @", "mounts: [@]", "devices: @", "devices: [@]")]
PLACES += ["schedule: @", "schedule: [@]", "schedule: [{at: 1, add: @}]"]
PLACES += [f"schedule: [{{at: 1, {of}: @}}]" for of in ("healthy", "unhealthy", "health", "remove")]


@pytest.mark.parametrize("place", ["@", *(f"resource: a.com/b\n{place}" for place in PLACES)])
def test_where_there_is_something_else_the_error_shows_what_is_right(place):
    """So that it can be copied."""
    with pytest.raises(BadInput) as caught:
        parse_scripts(place.replace("@", "3"), file="s.yaml")
    (example,) = re.findall(r"must be a (?:mapping|list) such as (.*), not '3'$", str(caught.value))
    if "gpu-0" in example and "devices: @" not in place:
        place += "\ndevices: [{id: gpu-0}]"
    parse(place.replace("@", example))


def test_a_device_that_is_added_later_can_become_unhealthy():
    script = parse("resource: a.com/b\nschedule: [{at: 1, add: [{id: x}]}, {at: 2, unhealthy: [x]}]")
    assert script.schedule[1].health == {"x": "Unhealthy"}


# --- on the command line ---


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--endpoint", "kubelet.sock"], "kubelet.sock is the manager's own socket"),
        (["--endpoint", "x" * 100], "is too long a path"),
        (["--endpoint", "../x.sock"], "must be a plain file name, not '../x.sock'"),
        (["--endpoint", "kubelet_internal_checkpoint"], "kubelet_internal_checkpoint is no socket"),
    ],
)
def test_a_plugin_does_not_overwrite_other_files(root_dir, arguments, said):
    directory = root_dir / "device-plugins"
    directory.mkdir()
    (directory / "kubelet_internal_checkpoint").write_text("who holds what")
    result = CliRunner().invoke(main, ["plugin", "--root-dir", str(root_dir), "--resource", "a.com/b", *arguments])
    assert result.exit_code in (1, 2)
    assert said in result.output
    assert (directory / "kubelet_internal_checkpoint").read_text() == "who holds what"


def test_of_several_plugins_whose_sockets_exist_one_error_is_shown(root_dir):
    script = root_dir / "script.yaml"
    script.write_text("".join(f"---\nresource: a.com/{name}\nendpoint: a.com-{name}.sock\n" for name in "xy"))
    for name in "xy":
        (root_dir / "device-plugins" / f"a.com-{name}.sock").mkdir(parents=True)
    result = CliRunner().invoke(main, ["plugin", "--root-dir", str(root_dir), "--script", str(script)])
    assert (result.exit_code, result.output) == (
        1,
        f"Error: {root_dir}/device-plugins/a.com-x.sock is no socket: give another endpoint, or remove it\n",
    )


async def test_a_simulated_plugin_does_not_overwrite_other_files(manager):
    file = manager.layout.plugins / "notes"
    file.touch()
    for endpoint, error in ("kubelet.sock", ValueError), ("../admin.sock", ValueError), ("notes", FileExistsError):
        with pytest.raises(error):
            async with open_simulated_plugin(manager.layout.plugins, "a.com/b", endpoint=endpoint):
                pass
    assert file.exists()
    assert manager.layout.registration_socket.is_socket()
