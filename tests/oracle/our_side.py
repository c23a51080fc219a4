"""Our manager, in this program, through a portal: stories are played without Trio."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from prometheus_client.parser import text_string_to_metric_families

from devicemgr import (
    Container,
    ContainerKind,
    ContainerRun,
    ContainerStartFailed,
    DeviceManager,
    NodeStatus,
    Numa,
    PeerLimits,
    PluginUnavailable,
    Policy,
    RecordedEvent,
    Scope,
    Topology,
    open_device_manager,
    open_portal,
)
from devicemgr import Pod as OurPod
from devicemgr.core.checkpoint.kubelet_format import parse_checkpoint, render
from devicemgr.core.checkpoint.own_section import parse_section
from devicemgr.daemon.serving.metrics import Metrics
from tests.helpers import render_section

from .checkpoint import FILE, read_checkpoint
from .side import Admission, Refusal, Started
from .story import Pod, Step, Story, resource_name

PATIENCE = 120.0
UNBOUNDED = PeerLimits(
    report_rate=1e6,
    report_burst=2**30,
    registration_rate=1e6,
    registration_burst=2**30,
    time_share=1.0,
    time_burst=3600.0,
    connections=100_000,
    all_connections=100_000,
)
"""All plug-ins and clients of a story are one process."""
RESTART_WAIT = 30.0
"""Seconds for which pods wait after a restart, in stories in which somebody registers while they do."""
WAITED_FOR = {"DeviceListReceived": "listed", "EndpointStopped": "ended", "PluginEnded": "ended"}


class Heard:
    """A sink of events: what can be waited for is counted."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        self._waited: Counter[tuple[str, str]] = Counter()
        self._changed = threading.Condition()

    def __call__(self, recorded: RecordedEvent) -> None:
        event = recorded.event
        if what := WAITED_FOR.get(type(event).__name__):
            with self._changed:
                self._counts[what, event.resource] += 1  # type: ignore[attr-defined]
                self._changed.notify_all()

    def wait(self, what: str, resource: str) -> None:
        """Until it happened once more than was waited for."""
        self._waited[what, resource] += 1
        with self._changed:
            happened = self._changed.wait_for(
                lambda: self._counts[what, resource] >= self._waited[what, resource], PATIENCE
            )
        assert happened, f"{resource} was not {what} {self._waited[what, resource]} times"


class OurSide:
    name = "ours"
    cannot: ClassVar[frozenset[type[Step]]] = frozenset()

    def __init__(self) -> None:
        self._lifetime = ExitStack()
        self._portal = self._lifetime.enter_context(open_portal())
        self._running = ExitStack()
        self._manager: DeviceManager
        self._pods: dict[str, Pod] = {}

    def close(self) -> None:
        """The program."""
        self._lifetime.close()

    @property
    def plugins(self) -> Path:
        return self._root / "device-plugins"

    def open(self, story: Story, directory: Path) -> None:
        self._root, self._story, self._pods = directory, story, {}
        self._published = NodeStatus(capacity={}, allocatable={})
        self.start()

    def start(self, *, reboot: bool = False) -> None:
        if reboot:
            _forget_boot(self.plugins / FILE)
        story = self._story
        nodes = tuple(range(story.numa))
        numa = Numa(nodes=nodes, distances={node: tuple(story.distances(node)) for node in nodes})
        topology = Topology(
            policy=Policy(story.policy), scope=Scope(story.scope), prefer_closest=story.closest, numa=numa
        )
        self._heard, self._metrics = Heard(), Metrics(topology.policy)
        opened = open_device_manager(
            self._root,
            topology=topology,
            peer_limits=UNBOUNDED,
            restart_wait=RESTART_WAIT if story.waits else 0.0,
            sinks=[self._heard, self._metrics],
        )
        self._manager = self._running.enter_context(self._portal.enter(opened))

    def stop(self) -> None:
        self._running.close()

    def leave(self) -> None:
        self.stop()

    def wait_listed(self, resource: str, socket: Path) -> None:
        self._heard.wait("listed", resource)
        self._portal.call(self._manager.flush)

    def expects_end(self, resource: str, socket: Path) -> bool:
        return True

    def wait_ended(self, resource: str, socket: Path) -> None:
        self._heard.wait("ended", resource)

    def admit(self, pods: list[Pod], *, start: bool = True) -> list[Admission]:
        self.node()  # which the kubelet publishes when something changes
        answers = [self._portal.submit(self._manager.admit, _our_pod(pod), start=False) for pod in pods]
        admissions = []
        for pod, future in zip(pods, answers, strict=True):
            answer = future.result()
            if answer.admitted:
                self._pods[pod.name] = pod
            else:
                self._pods.pop(pod.name, None)
            refused = None if answer.admitted else Refusal(answer.reason, answer.message)
            admissions.append(Admission(pod.name, refused, self._containers(pod, start) if answer.admitted else {}))
        return admissions

    def _containers(self, pod: Pod, start: bool) -> dict[str, Started]:
        ours = _our_pod(pod)
        return {container.name: self._container(ours, container, start) for container in ours.containers}

    def _container(self, pod: OurPod, container: Container, start: bool) -> Started:
        error, run = None, None
        try:
            if start:
                run = self._portal.call(self._manager.start_container, pod, container)
        except (ContainerStartFailed, PluginUnavailable) as failed:
            error = str(failed)
        (status,) = [one for one in self._portal.call(self._manager.pods) if one.uid == pod.uid]
        (held,) = [one.devices for one in status.containers if one.name == container.name]
        devices = {resource: sorted(ids) for resource, ids in held.items()}
        return Started(devices, None if run is None or not run.devices else _options(run), error)

    def delete(self, names: list[str]) -> None:
        for name in names:
            if self._pods.pop(name, None) is not None:
                self._portal.call(self._manager.remove, "default", name)

    def start_again(self, name: str) -> Admission:
        pod = self._pods[name]
        ours = _our_pod(pod)
        again = [one for one in ours.containers if one.kind is not ContainerKind.INIT]
        return Admission(name, None, {one.name: self._container(ours, one, True) for one in again})

    def resize(self, name: str) -> Refusal | None:
        """A pod that runs is admitted once more."""
        (admission,) = self.admit([self._pods[name]], start=False)
        return admission.refused

    def readmit(self, *, start: bool) -> list[Admission]:
        admissions = [one for pod in list(self._pods.values()) for one in self.admit([pod], start=start)]
        self._portal.call(self._manager.retain, [pod.uid for pod in self._pods.values()])
        return admissions

    def expire_grace(self) -> None:
        self._portal.call(self._manager.faults.expire_grace)
        self.node()  # who embeds it publishes what is left, as a kubelet does every few seconds

    def node(self) -> dict[str, tuple[int, int]]:
        """What an embedder publishes: it knows what was published before, also over a restart."""
        self._published = status = self._portal.call(self._manager.node_status, self._published)
        self._portal.call(self._manager.acknowledge_reset)
        for resource in status.removed:
            self._portal.call(self._manager.acknowledge_removed, resource)
        return {name: (count, status.allocatable[name]) for name, count in status.capacity.items()}

    def checkpoint(self) -> dict[str, Any]:
        self._portal.call(self._manager.flush)
        return read_checkpoint(self.plugins)

    def health(self) -> dict[str, Any]:
        return {
            pod.name: {
                container.name: {name: dict(devices) for name, devices in container.health.items()}
                for container in pod.containers
            }
            for pod in self._portal.call(self._manager.pods)
        }

    def metrics(self, names: list[str]) -> dict[str, Any]:
        text = self._portal.call(self._metrics.render, self._manager).decode()
        return {name: one for name, one in metric_families(text).items() if name in names}


def _our_pod(pod: Pod) -> OurPod:
    """What DRA allocates is no concern of ours: the embedder leaves it out."""
    containers = [
        Container(
            name=name,
            kind=ContainerKind(one.kind),
            limits={resource_name(short): count for short, count in one.limits.items() if short not in one.claimed},
        )
        for name, one in pod.named()
    ]
    return OurPod(name=pod.name, uid=pod.uid, containers=tuple(containers))


def _options(run: ContainerRun) -> dict[str, Any]:
    made = run.options
    return {
        "envs": dict(made.envs),
        "annotations": dict(made.annotations),
        "mounts": sorted(f"{m.container_path}|{m.host_path}|{str(m.read_only).lower()}" for m in made.mounts),
        "devices": sorted(f"{d.container_path}|{d.host_path}|{d.permissions}" for d in made.device_specs),
        "cdi": sorted(made.cdi_devices),
    }


def _forget_boot(path: Path) -> None:
    """As if the checkpoint were of an earlier boot of the machine."""
    if not path.exists():
        return
    found = parse_checkpoint(path.read_text())
    if found.section is not None:
        section = replace(parse_section(found.section), boot_id="an earlier boot")
        path.write_text(render(found, section=render_section(section)))


def metric_families(text: str) -> dict[str, Any]:
    """The metrics of a page, in the shape of :meth:`tests.oracle.side.Side.metrics`."""
    families: dict[str, Any] = {}
    for family in text_string_to_metric_families(text):
        name = f"{family.name}_total" if f"# TYPE {family.name}_total " in text else family.name
        made: dict[str, Any] = {"type": family.type, "counts": {}}
        for sample in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()) if key != "le")
            if sample.name.endswith("_bucket"):
                bounds = made.setdefault("buckets", [])
                if (bound := float(sample.labels["le"])) not in bounds and bound != float("inf"):
                    bounds.append(bound)
            elif family.type != "histogram" or sample.name.endswith("_count"):
                made["counts"][labels] = int(sample.value)
        families[name] = made
    return families
