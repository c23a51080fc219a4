"""The kubelet's Device Manager as one Trio process.

Device plug-ins register over gRPC and stream their devices, which are allocated to pods. On the wire, on disk and in
its decisions the manager is that of Kubernetes v1.37, except for known defects, which it does not have.

    async with devicemgr.open_device_manager(root_dir=directory) as manager:
        await manager.wait_for_resource("vendor.com/gpu", allocatable=8)
        admission = await manager.admit(pod)

Without Trio: :func:`open_portal`.

``README.md`` beside this file is a tour: one registration and one admission, followed through the code.

``rules/``               the book: what the kubelet does and why, rule by rule
``model``                the values everything else speaks of
``events/``              every fact the manager can report
``errors``               every error a caller can meet
``core/``                the decisions, pure: no await, no clock, no file, no log, no gRPC
``daemon/``              the tasks: ``supervisor`` has the nursery tree on one screen
``rpc/``                 the border: gRPC on Trio, and the messages of each API
``cluster/``             the manager as a node of a real Kubernetes cluster
``testing/``             for tests of any project: plug-ins, conformance checks, pytest fixtures
``cli/``                 the command line, a file or a folder per verb
``input/``               files that people hand in, and what is wrong in them
``concurrency/``         what tasks are made of here, beside Trio
``arguments``            wrong arguments are errors of the call they were given to
``peer_limits``          how much a peer may ask of the manager
``resource_names``       which names are those of extended resources
``quantity``             Kubernetes quantities
``node_resources``       resources that a node has without a plug-in
``kubernetes_versions``  what a kubelet of v1.36 or v1.37 does not start with
``lazy_names``           public names, imported when they are asked for
``printable``            texts that others have chosen, on a terminal
``folding``              long lines on a terminal
``user_directories``     where the user's home and cache are
``temporary_directory``  one of which nothing stays, not even when its program is killed
``version``              which version this is
``__main__``             ``python -m devicemgr``

Imports go one way, and never in a circle: ``model, errors ← events ← core ← daemon ← testing ← cli`` and ``model,
errors, events ← rpc ← daemon``. What cannot be seen in the code, because it is absent: ``core`` has no ``async`` and
knows no clock; nothing outside ``rpc`` imports grpclib or betterproto2, and nothing imports asyncio; nothing outside
``input.yaml_fields`` imports yaml; only ``daemon.serving.trace`` and ``cli`` log; no module has a global that changes.
A table in ``tests/test_structure.py`` has the reasons, and checks all of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .lazy_names import lazy_getattr

if TYPE_CHECKING:
    from .core.topology.numa import Numa
    from .core.topology.policy import Policy, Scope, Topology
    from .core.views.pod_resources import DeviceOnNode, PodResourcesEntry
    from .core.views.task_tree import TaskTree, TreeNode, TreeScope
    from .daemon.access.callers import Callers
    from .daemon.event_log import RecordedEvent, Sink
    from .daemon.faults.actions import Faults
    from .daemon.layout import Layout
    from .daemon.manager import DeviceManager
    from .daemon.pods.pod_resources import PodResources
    from .daemon.supervisor import open_device_manager
    from .daemon.threads.blocking import BlockingFaults, BlockingManager, BlockingPodResources
    from .daemon.threads.portal import Portal, open_portal
    from .errors import (
        AddressUnusable,
        ApiError,
        ApiUnreachable,
        ApiUntrusted,
        BadInput,
        CheckpointUnwritable,
        ContainerStartFailed,
        CredentialsUnavailable,
        DeviceManagerError,
        DirectoryInUse,
        DirectoryUnusable,
        ExtraMissing,
        KubeWaitTimeout,
        ManagerClosed,
        ManagerUnavailable,
        NeedsTrio,
        NoSuchPod,
        PluginUnavailable,
        Refused,
        RegistrationRefused,
        ResourceWaitTimeout,
        RpcFailed,
        UnusableTopology,
    )
    from .events import Event, Severity
    from .model import (
        Container,
        ContainerKind,
        ContainerRun,
        ContainerStatus,
        Device,
        DeviceId,
        DeviceSpec,
        EffectiveSettings,
        Fault,
        Mount,
        NodeStatus,
        Peer,
        PluginOptions,
        Pod,
        PodAdmitResult,
        PodStatus,
        PodUid,
        Registration,
        ResourceCounts,
        ResourceName,
        RunOptions,
    )
    from .peer_limits import PeerLimits
    from .rpc.deviceplugin.methods import Deadlines

    __version__: str

__all__ = [
    "AddressUnusable",
    "ApiError",
    "ApiUnreachable",
    "ApiUntrusted",
    "BadInput",
    "BlockingFaults",
    "BlockingManager",
    "BlockingPodResources",
    "Callers",
    "CheckpointUnwritable",
    "Container",
    "ContainerKind",
    "ContainerRun",
    "ContainerStartFailed",
    "ContainerStatus",
    "CredentialsUnavailable",
    "Deadlines",
    "Device",
    "DeviceId",
    "DeviceManager",
    "DeviceManagerError",
    "DeviceOnNode",
    "DeviceSpec",
    "DirectoryInUse",
    "DirectoryUnusable",
    "EffectiveSettings",
    "Event",
    "ExtraMissing",
    "Fault",
    "Faults",
    "KubeWaitTimeout",
    "Layout",
    "ManagerClosed",
    "ManagerUnavailable",
    "Mount",
    "NeedsTrio",
    "NoSuchPod",
    "NodeStatus",
    "Numa",
    "Peer",
    "PeerLimits",
    "PluginOptions",
    "PluginUnavailable",
    "Pod",
    "PodAdmitResult",
    "PodResources",
    "PodResourcesEntry",
    "PodStatus",
    "PodUid",
    "Policy",
    "Portal",
    "RecordedEvent",
    "Refused",
    "Registration",
    "RegistrationRefused",
    "ResourceCounts",
    "ResourceName",
    "ResourceWaitTimeout",
    "RpcFailed",
    "RunOptions",
    "Scope",
    "Severity",
    "Sink",
    "TaskTree",
    "Topology",
    "TreeNode",
    "TreeScope",
    "UnusableTopology",
    "open_device_manager",
    "open_portal",
]

# Imported when they are asked for (PEP 562): ``--help`` and a pytest run that needs no manager must not pay for gRPC.
_MODULES = {
    ".core.topology.numa": "Numa",
    ".core.topology.policy": "Policy Scope Topology",
    ".core.views.pod_resources": "DeviceOnNode PodResourcesEntry",
    ".core.views.task_tree": "TaskTree TreeNode TreeScope",
    ".daemon.access.callers": "Callers",
    ".daemon.event_log": "RecordedEvent Sink",
    ".daemon.faults.actions": "Faults",
    ".daemon.layout": "Layout",
    ".daemon.manager": "DeviceManager",
    ".daemon.pods.pod_resources": "PodResources",
    ".daemon.supervisor": "open_device_manager",
    ".daemon.threads.blocking": "BlockingFaults BlockingManager BlockingPodResources",
    ".daemon.threads.portal": "Portal open_portal",
    ".errors": (
        "AddressUnusable ApiError ApiUnreachable ApiUntrusted BadInput CheckpointUnwritable ContainerStartFailed "
        "CredentialsUnavailable DeviceManagerError DirectoryInUse DirectoryUnusable ExtraMissing KubeWaitTimeout "
        "ManagerClosed ManagerUnavailable NeedsTrio NoSuchPod PluginUnavailable Refused RegistrationRefused "
        "ResourceWaitTimeout RpcFailed UnusableTopology"
    ),
    ".events": "Event Severity",
    ".model": (
        "Container ContainerKind ContainerRun ContainerStatus Device DeviceId DeviceSpec "
        "EffectiveSettings Fault Mount NodeStatus Peer PluginOptions Pod PodAdmitResult PodStatus PodUid Registration "
        "ResourceCounts ResourceName RunOptions"
    ),
    ".peer_limits": "PeerLimits",
    ".rpc.deviceplugin.methods": "Deadlines",
}

if not TYPE_CHECKING:  # a type checker sees the names above, and no others
    _find = lazy_getattr(__name__, _MODULES)

    def __getattr__(name: str) -> Any:
        if name != "__version__":
            return _find(name)
        from .version import installed_version

        return installed_version()


def __dir__() -> list[str]:
    return __all__
