"""Vendors' own plug-ins, with fake hardware, and what a reader of their source would say of them.

They are not part of this project and are not built by it. Whoever has programs of these names in a directory runs
``python -m pytest tests/interop --vendors DIRECTORY``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fake_api_server import api_server

from .building import NotToBeHad, fake_nvml, require_namespaces
from .checking import ROOT, Said, check
from .hardware import NULL, Link, Tree, bind_options


@dataclass(frozen=True, kw_only=True)
class Vendor:
    """``name`` and ``learnt`` are what the README's table says, ``source`` the state of the plug-in's source that the
    expectation was read in, ``program`` the name that its build gives it. ``broken`` are the checks that must not pass,
    each with what in the source makes it so, ``by_chance`` those that a race there breaks at times; ``not_made`` those
    that cannot be made.

    ``hardware`` is seen by the plug-in only, by path; with ``has_nvml`` it finds a fake of NVIDIA's library, too.
    ``objects`` are in the API server that it asks, by path.
    """

    name: str
    source: str
    program: str
    arguments: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    hardware: Mapping[str, Tree | Path] = field(default_factory=dict)
    has_nvml: bool = False
    objects: Mapping[str, Any] = field(default_factory=dict)
    broken: Mapping[str, str] = field(default_factory=dict)
    by_chance: Mapping[str, str] = field(default_factory=dict)
    not_made: frozenset[str] = frozenset()
    learnt: str = ""

    def check(self, programs: Path, scratch: Path, *options: str, tree: Path = ROOT) -> Said:
        """Raises NotToBeHad where the program, or what it needs, is not there."""
        program = programs / self.program
        if not program.is_file():
            raise NotToBeHad(f"there is no {program}: {self.name}")
        options = (*options, *self.options)
        if "--isolate" in options or self.hardware:
            require_namespaces()
        with ExitStack() as stack:
            if self.objects:
                stack.enter_context(api_server(self.objects, config := scratch / "kubeconfig"))
                options = (*options, "--kubeconfig", str(config))
            options = (*options, *bind_options(self.hardware, scratch))
            nvml = {"LD_LIBRARY_PATH": str(fake_nvml(scratch))} if self.has_nvml else {}
            return check(options, (program.absolute(), *self.arguments), env={**self.env, **nvml}, tree=tree)


_NEVER_UNHEALTHY = frozenset({"allocate-unhealthy", "changes-arrive"})
_NO_OPTIONAL_CALLS = frozenset({"preferred-allocation", "pre-start"})
_ONE_LIST = frozenset({"lists-complete"})
_NO_PATHS = frozenset({"paths-absolute", "permissions", "host-paths-exist"})
_FOUND = frozenset({"wiped", "socket-deleted", "registers-again", "stream-lost"})
_NO_CDI = frozenset({"cdi-names"})
_NEEDS_RESTART = frozenset({"wiped", "socket-deleted", "registry-deleted", "away", "descriptors"}) | {
    "returns-once",
    "endpoint-fresh",
    "stream-lost",
}


def _drm_card(number: int) -> Tree:
    device = f"card{number}/device"
    return {
        f"{device}/vendor": "0x8086\n",
        f"{device}/device": "0x49c5\n",
        f"{device}/driver": Link("../../../../bus/pci/drivers/i915"),
        f"{device}/drm/card{number}": None,
        f"{device}/drm/renderD{128 + number}": None,
    }


def _amd_card(number: int) -> Tree:
    device = f"pci:amdgpu/0000:{19 + number}:00.0"
    return {
        f"{device}/numa_node": "0\n",
        f"{device}/drm/card{number}": None,
        f"{device}/drm/renderD{128 + number}": None,
    }


def _accelerator(address: str) -> Tree:
    return {
        f"{address}/modalias": "pci:v00008086d00000D5Csv00000000sd00000000bc12sc00i00\n",
        f"{address}/driver": Link("../../drivers/vfio-pci"),
        f"{address}/iommu_group": Link("../../../../kernel/iommu_groups/7"),
        f"{address}/numa_node": "0\n",
    }


def _passed_through(group: int) -> Tree:
    return {
        "vendor": "0x10de\n",
        "device": "0x1db6\n",
        "numa_node": "0\n",
        "driver": Link("../../../bus/pci/drivers/vfio-pci"),
        "iommu_group": Link(f"../../../kernel/iommu_groups/{group}"),
    }


def _alveo_card(function: int) -> Tree:
    address = f"0000:3b:00.{function}"
    return {
        f"{address}/vendor": "0x10ee\n",
        f"{address}/device": "0x5001\n",
        f"{address}/user_pf": "",
        f"{address}/logic_uuids": "862c7020a250293e32036f19956669e5\n",
        f"{address}/rom.u.1/VBNV": "xilinx_u200_gen3x16_base_2\n",
        f"{address}/rom.u.1/timestamp": "0x1234\n",
        f"{address}/xmc.u.1/serial_num": f"SN{function}\n",
        f"{address}/drm/renderD12{function}": None,
    }


_PASSED_THROUGH = {f"0000:0{group}:00.0": group for group in (1, 2)}
_NULL_AS_DEVICE = {
    "resourceName": "vendor.example/null",
    "socketName": "null.sock",
    "numDevices": 3,
    "hostDevices": [{"hostPath": "/dev/null", "containerPath": "/dev/null", "permission": "rw"}],
}
_KFD_NODE = (
    "cpu_cores_count 0\ngfx_target_version 90402\nsimd_count 304\ndrm_render_minor 128\nlocation_id 6400\ndomain 0\n"
)
_PCI_IDS = "8086  Intel Corporation\n\t0d5c  N3000\n\nC 12  Processing accelerators\n\t00  Processing accelerators\n"
_ACCELERATORS = {
    "resourceName": "fpga",
    "deviceType": "accelerator",
    "selectors": [{"vendors": ["8086"], "devices": ["0d5c"]}],
}
_NVIDIA_NODES = dict.fromkeys(("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia0", "/dev/nvidia1"), NULL)
_INTEL_FIRST_LIST = (
    "pkg/deviceplugin/server.go: a stream begins with what is there then, and the first scan comes after it"
)
_INTEL_SIGTERM = "pkg/deviceplugin/manager.go: nobody listens for signals"
_INTEL_REPEATS = (
    "pkg/deviceplugin/manager.go: lists are compared with what was sent, and a protobuf message that was sent differs "
    "from a new one; in three seconds, as tests watch, there is no second scan"
)
_INTEL_PANIC = "pkg/deviceplugin/server.go: Update sends to a channel that is closed when the server ends"
_FAKE_GPU_TOPOLOGY = "gpuMemory: 1024\ngpuProduct: Fake\ngpus: [{id: a, status: {}}, {id: b, status: {}}]\n"
_NO_WATCH = "internal/deviceplugin/real_node.go: it registers once, and nobody watches for another kubelet.sock"
_INTEL_STREAM = "pkg/deviceplugin/server.go: ListAndWatch waits for updates alone, watchFile for a lost socket"

VENDORS = (
    Vendor(
        name="generic-device-plugin (squat/generic-device-plugin)",
        source="179b1fe",
        program="generic-device-plugin",
        arguments=(
            *("--device", json.dumps({"name": "null", "groups": [{"count": 3, "paths": [{"path": "/dev/null"}]}]})),
            *("--device", json.dumps({"name": "zero", "groups": [{"paths": [{"path": "/dev/zero"}]}]})),
            *("--plugin-directory", "{dir}", "--listen", "127.0.0.1:0"),
        ),
        broken={"stream-lost": "deviceplugin: ListAndWatch polls the devices, and returns when it cannot send them"},
        not_made=_NEVER_UNHEALTHY | _NO_OPTIONAL_CALLS | _ONE_LIST | _NO_CDI,
        learnt="two resources in one process, each checked: nothing to find but `stream-lost`, as of most",
    ),
    Vendor(
        name="NVIDIA's (NVIDIA/k8s-device-plugin), on two fake GPUs",
        source="1b826acc6",
        program="nvidia-device-plugin",
        arguments=("--device-discovery-strategy=nvml", "--pass-device-specs"),
        options=("--isolate",),
        has_nvml=True,
        hardware=_NVIDIA_NODES,
        broken={
            "socket-deleted": "cmd/nvidia-device-plugin/main.go: of its watcher it heeds kubelet.sock alone",
            "rolling-update": "internal/plugin/server.go: Stop removes whatever has the name of its socket",
            "stream-lost": "internal/plugin/server.go: ListAndWatch waits for Stop and for a change of health alone",
        },
        not_made=_NEVER_UNHEALTHY | {"pre-start"} | _ONE_LIST | _NO_CDI,
        learnt="`socket-deleted`: it watches for a new kubelet.sock alone; `rolling-update`: at its end it removes the "
        "socket that its successor has made",
    ),
    Vendor(
        name="GKE's (GoogleCloudPlatform/container-engine-accelerators), on two fake GPUs",
        source="992db812",
        program="nvidia_gpu",
        arguments=("-logtostderr", "-plugin-directory", "/var/lib/kubelet/device-plugins"),
        options=("--isolate",),
        has_nvml=True,
        hardware={
            **_NVIDIA_NODES,
            "/sys/bus/pci/devices": {f"0000:0{bus}:00.0/numa_node": "0\n" for bus in (1, 2)},
            "/home/kubernetes/bin": {"nvidia/vulkan/icd.d": None},
        },
        broken={
            "sigterm-removes-socket": "cmd/nvidia_gpu/nvidia_gpu.go: nobody listens for signals",
            "stream-lost": "pkg/gpu/nvidia/beta_plugin.go: ListAndWatch waits for a change of health alone",
        },
        not_made=_NEVER_UNHEALTHY | _NO_OPTIONAL_CALLS | _ONE_LIST | _NO_CDI,
        learnt="a new socket, with the second in its name, for each life: nobody deletes the old ones",
    ),
    Vendor(
        name="Intel's for SGX (intel/intel-device-plugins-for-kubernetes)",
        source="94a91bc9",
        program="sgx_plugin",
        arguments=("-enclave-limit", "4", "-provision-limit", "2"),
        options=("--isolate",),
        hardware={"/dev/sgx_enclave": NULL, "/dev/sgx_provision": NULL},
        broken={
            "first-list-complete": _INTEL_FIRST_LIST,
            "sigterm-removes-socket": _INTEL_SIGTERM,
            "stream-lost": _INTEL_STREAM,
        },
        not_made=_NEVER_UNHEALTHY | _NO_OPTIONAL_CALLS | _NO_CDI,
        learnt="`first-list-complete`: each life begins with an empty list, and a node with none of what it has",
    ),
    Vendor(
        name="Intel's for GPUs (the same), on two fake cards",
        source="94a91bc9",
        program="gpu_plugin",
        arguments=("-shared-dev-num", "2"),
        options=("--isolate",),
        hardware={
            "/sys/class/drm": _drm_card(0) | _drm_card(1),
            "/dev/dri": dict.fromkeys(("card0", "card1", "renderD128", "renderD129"), ""),
        },
        broken={
            "first-list-complete": _INTEL_FIRST_LIST,
            "preferred-allocation": "cmd/gpu_plugin: the policy none takes the first ids, whatever must be included",
            "sigterm-removes-socket": _INTEL_SIGTERM,
            "stream-lost": _INTEL_STREAM,
        },
        by_chance={"stream-silent": _INTEL_REPEATS}
        | dict.fromkeys(("restart", "wiped", "socket-deleted", "registry-deleted", "away"), _INTEL_PANIC)
        | dict.fromkeys(
            ("descriptors", "kill-restart", "rolling-update", "stream-cancel", "returns-once"), _INTEL_PANIC
        ),
        not_made=_NEVER_UNHEALTHY | {"pre-start"},
        learnt="`away`, `descriptors`: it sends to the channel of a stream that has ended, and panics; "
        "`preferred-allocation`: it leaves out what must be included",
    ),
    Vendor(
        name="that of fake-gpu-operator (run-ai/fake-gpu-operator), with a fake API server",
        source="3a3f644",
        program="device-plugin",
        options=("--isolate",),
        env={"NODE_NAME": "node", "TOPOLOGY_CM_NAME": "topology", "TOPOLOGY_CM_NAMESPACE": "gpu-operator"},
        objects={
            "/api/v1/namespaces/gpu-operator/configmaps/topology-node": {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "topology-node", "namespace": "gpu-operator"},
                "data": {"topology.yml": _FAKE_GPU_TOPOLOGY},
            }
        },
        broken={
            "restart": _NO_WATCH,
            "allocate-unknown": "internal/deviceplugin/real_node.go: Allocate looks no id up",
            "host-paths-exist": "Allocate mounts an nvidia-smi that another container installs",
            "sigterm-removes-socket": "cmd/device-plugin/main.go: SIGTERM ends it, and Stop is not called",
            "ids-stable": "internal/deviceplugin/device_plugin.go: the ids are made at random, at each start",
            "rolling-update": "internal/deviceplugin/real_node.go: each process has the same socket name",
        },
        not_made=_NEVER_UNHEALTHY | _NO_OPTIONAL_CALLS | _ONE_LIST | _NO_CDI | {"permissions"} | _NEEDS_RESTART,
        learnt="it asks the API server for its devices: with `--kubeconfig` it starts; it watches for no kubelet.sock, "
        "and makes its ids at random",
    ),
    Vendor(
        name="AMD's (ROCm/k8s-device-plugin), on two fake cards",
        source="ed764684",
        program="k8s-device-plugin",
        options=("--isolate", "--respawn"),
        hardware={
            "/sys/module/amdgpu/drivers": _amd_card(0) | _amd_card(1),
            "/sys/class/kfd": {"kfd/topology/nodes/1/properties": _KFD_NODE, "kfd/topology/nodes/0/properties": ""},
            "/dev/kfd": NULL,
            "/dev/dri": dict.fromkeys(("card0", "card1", "renderD128", "renderD129"), ""),
        },
        broken={
            "allocate-unknown": "internal/pkg/plugin/plugin.go: Allocate looks no id up",
            "socket-deleted": "dpm/manager.go: of the directory it heeds kubelet.sock alone",
            "sigterm-removes-socket": "dpm/manager.go: only a copy of the plug-in knows that it runs",
            "rolling-update": "dpm/plugin.go: the name of its socket is that of the resource",
        },
        not_made=_NEVER_UNHEALTHY | _NO_OPTIONAL_CALLS | _ONE_LIST | _NO_CDI,
        learnt="it ends with its stream and relies on being started again: `--respawn`; `allocate-unknown`, "
        "`socket-deleted`",
    ),
    Vendor(
        name="SR-IOV's (k8snetworkplumbingwg/sriov-network-device-plugin), with a fake accelerator",
        source="40b6f507e",
        program="sriovdp",
        arguments=("-config-file", "/etc/pcidp/config.json"),
        options=("--isolate",),
        hardware={
            "/etc/pcidp": {"config.json": json.dumps({"resourceList": [_ACCELERATORS]})},
            "/usr/share/misc": {"pci.ids": _PCI_IDS},
            "/sys/bus/pci/devices": _accelerator("0000:b1:00.0") | _accelerator("0000:b1:00.1"),
            "/sys/kernel/iommu_groups": {"7": None},
            "/dev/vfio": dict.fromkeys(("vfio", "7"), ""),
        },
        broken={
            "allocate-unknown": "pkg/resources/pool_stub.go: GetDeviceSpecs leaves out what it does not know",
            "rolling-update": "pkg/resources/server.go: Stop removes whatever has the name of its socket",
        },
        not_made=_NEVER_UNHEALTHY | _NO_OPTIONAL_CALLS | _ONE_LIST | _NO_CDI | _FOUND,
        learnt="it is found in plugins_registry, and is checked like any other: `allocate-unknown`, `rolling-update`",
    ),
    Vendor(
        name="NVIDIA's for KubeVirt (NVIDIA/kubevirt-gpu-device-plugin), on two fake GPUs",
        source="d26f237",
        program="nvidia-kubevirt-gpu-device-plugin",
        options=("--isolate",),
        hardware={
            "/sys/devices/devicemgr-fake": {
                f"{address}/{name}": content
                for address, group in _PASSED_THROUGH.items()
                for name, content in _passed_through(group).items()
            },
            "/sys/bus/pci/devices": {
                address: Link(f"/sys/devices/devicemgr-fake/{address}") for address in _PASSED_THROUGH
            },
            "/dev/vfio": dict.fromkeys(("vfio", "1", "2"), ""),
        },
        broken={
            "registers-again": "pkg/device_plugin/device_plugin.go: that it did not start is logged, and no more",
            "sigterm-removes-socket": "cmd/main.go: nobody listens for signals",
            "rolling-update": "pkg/device_plugin/generic_device_plugin.go: the socket is named after the device",
            "stream-lost": "pkg/device_plugin/generic_device_plugin.go: ListAndWatch waits for health alone",
        },
        not_made=_NEVER_UNHEALTHY | {"pre-start"} | _ONE_LIST | _NO_CDI,
        learnt="`rolling-update`: the end of the old process takes the socket of the new one; "
        "`registers-again` (a warning): it logs that it was refused, and runs on without devices",
    ),
    Vendor(
        name="AMD's for FPGAs (Xilinx/FPGA_as_a_Service), on two fake cards",
        source="cac8e918",
        program="fpga-device-plugin",
        options=("--isolate",),
        hardware={
            "/sys/bus/pci/devices": _alveo_card(1) | _alveo_card(2),
            "/sys/class/misc": {},
            "/dev/dri": dict.fromkeys(("renderD121", "renderD122"), ""),
        },
        broken={
            "socket-deleted": "main.go: of its watcher it heeds kubelet.sock alone",
            "descriptors": "main.go: at each new kubelet.sock all begins anew, and nothing of before is stopped",
            "stream-cancel": "server.go: all calls of ListAndWatch read one channel, and the list is in it once",
            "sigterm-removes-socket": "main.go: SIGTERM ends its loop, and nothing is stopped",
            "rolling-update": "server.go: the socket is named after the kind of device",
            "stream-lost": "server.go: ListAndWatch waits for an update alone",
        },
        not_made=_NEVER_UNHEALTHY | _NO_OPTIONAL_CALLS | _ONE_LIST | _NO_CDI,
        learnt="`descriptors`: with each restart of the kubelet it has one more server; `stream-cancel`: a second "
        "stream has no list",
    ),
    Vendor(
        name="k8s-host-device-plugin (everpeace/k8s-host-device-plugin), with /dev/null",
        source="8d28d95",
        program="k8s-host-device-plugin",
        options=("--isolate",),
        hardware={"/k8s-host-device-plugin": {"config.json": json.dumps(_NULL_AS_DEVICE)}},
        broken={
            "allocate-unknown": "server.go: Allocate looks no id up",
            "socket-deleted": "main.go: of its watcher it heeds kubelet.sock alone",
            "rolling-update": "server.go: Stop removes whatever has the name of its socket",
            "stream-lost": "server.go: ListAndWatch waits for Stop and for a change of health alone",
        },
        not_made=_NEVER_UNHEALTHY | _NO_OPTIONAL_CALLS | _ONE_LIST | _NO_CDI,
        learnt="its configuration is directly under /, where `--bind` shows it; `rolling-update`, `allocate-unknown`",
    ),
)
