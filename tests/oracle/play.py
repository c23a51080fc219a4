"""Plays a story on two sides, a judge and ours, and says in what they differ."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from . import story as s
from .checkpoint import FILE, read_checkpoint
from .compare import Difference, differing, without_empty, without_ids, without_order
from .history import History
from .known import explain
from .plugin import Call, Plugin, register
from .pod_resources import ask_pod_resources
from .side import Admission, Crashed, Side
from .story import Step, Story, parse_devices

METRICS = [
    "kubelet_device_plugin_registration_total",
    "kubelet_device_plugin_alloc_duration_seconds",
    *(f"kubelet_pod_resources_endpoint_requests_{one}" for one in ("total", "list", "get_allocatable", "get")),
    *(f"kubelet_pod_resources_endpoint_errors_{one}" for one in ("list", "get_allocatable", "get")),
    *(f"kubelet_topology_manager_admission_{one}" for one in ("requests_total", "errors_total", "duration_ms")),
    *(f"kubelet_container_aligned_compute_resources_{one}" for one in ("count", "failure_count")),
    "kubelet_admission_rejections_total",
]
"""Those of section MET, without the one about watched sockets, whose labels are paths."""


KEEPS_DEVICES = "no containers return in allocation response|GetPreferredAllocation rpc failed"
"""Refusals after which Go keeps what it had taken so far (ALLOC-5g)."""
Seen = dict[str, Any]
"""By side: plain values."""


def play(story: Story, judge: Side, ours: Side) -> list[Difference]:
    """Each difference has the item that explains it, if there is one."""
    player = Player(story, judge, ours)
    differences: list[Difference] = []
    with player.node():
        for step in story.steps:
            try:
                differences += player.play(step)
            except Crashed as crash:
                return [*differences, player.crashed(step, crash)]
    return differences


def can_play(story: Story, side: Side) -> bool:
    return not any(isinstance(step, tuple(side.cannot)) for step in story.steps)


class Player:
    def __init__(self, story: Story, judge: Side, ours: Side):
        self._history = History(story)
        self._sides = {side.name: side for side in (judge, ours)}
        self._judge, self._ours = judge.name, ours.name
        self._roots: dict[str, Path] = {}
        self._plugins = self._history.plugins
        self._number = 0
        self._answered: dict[str, s.Answers] = {}
        self._meanwhile: list[list[Difference]] = []

    @contextmanager
    def node(self) -> Iterator[None]:
        with ExitStack() as stack:
            for name, side in self._sides.items():
                self._roots[name] = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dm-")))
                side.open(self._history.story, self._roots[name])
                stack.callback(side.leave)
            stack.callback(self._kill_all)
            yield

    def _kill_all(self) -> None:
        for plugin in self._plugins.values():
            plugin.kill()

    def play(self, step: Step) -> Iterator[Difference]:
        self._number += 1
        number = self._number
        before = {name: self._calls_of(name) for name in self._sides}
        do: Callable[[Any], Seen] = getattr(self, f"_{type(step).__name__.lower()}")
        results = do(step)
        seen = {
            name: {"result": results.get(name), "calls": _since(before[name], self._calls_of(name))}
            for name in self._sides
        }
        if not self._history.story.ids or _are_several(step):
            seen = {name: without_ids(one) for name, one in seen.items()}
        if _are_several(step):
            seen = {name: without_order(one) for name, one in seen.items()}
        for part in ("result", "calls"):  # a pod that was not treated alike explains other calls
            for where, judge, ours in differing(seen[self._judge][part], seen[self._ours][part], (part,)):
                difference = Difference(number, step, where, judge, ours)
                yield replace(difference, item=explain(difference, self._history))
        self._delete_unequal()
        for inner in self._meanwhile:
            yield from inner
        self._meanwhile = []

    def crashed(self, step: Step, crash: Crashed) -> Difference:
        """The story is over: there is nothing left to compare with."""
        difference = Difference(self._number, step, ("crash",), str(crash), "goes on")
        return replace(difference, item=explain(difference, self._history))

    def _calls_of(self, side: str) -> dict[str, list[Call]]:
        return {name: list(plugin.calls[side]) for name, plugin in self._plugins.items()}

    # --- plug-ins ---

    def _register(self, step: s.Register) -> Seen:
        plugin = self._plugins.setdefault(step.plugin, Plugin(step))
        plugin.answers = self._answered.get(step.plugin, plugin.answers)
        plugin.configure(step)
        results, opened = {}, {}
        for name, side in self._sides.items():
            serving = plugin.serve(name, self._path(plugin, name))
            opened[name] = serving.opened
            if step.watched:
                results[name] = serving.wait_notified()
            elif step.crossing:
                results[name] = self._register_crossing(side, plugin)
            else:
                results[name] = register(side.plugins / "kubelet.sock", plugin, step.version)
        for name, side in self._sides.items():
            if results[name] is None:
                plugin.serving[name].wait_watched(opened[name] + 1)
                if plugin.devices is not None:
                    side.wait_listed(plugin.resource, self._path(plugin, name))
        if not any(results.values()):
            self._history.registered(step.plugin, crossing=step.crossing)
        elif all(results.values()):
            self._history.refused_registration(step.plugin)
        return results

    def _register_crossing(self, side: Side, plugin: Plugin) -> str | None:
        serving, kubelet_sock = plugin.serving[side.name], side.plugins / "kubelet.sock"
        with ThreadPoolExecutor(1) as thread:
            ask = partial(thread.submit, register, kubelet_sock, plugin, "v1beta1")
            with serving.asked_for_options(ask) as registering:
                serving.end_streams()
                side.wait_ended(plugin.resource, self._path(plugin, side.name))
            refused: str | None = registering.result()
            return refused

    def _path(self, plugin: Plugin, side: str) -> Path:
        """The plug-in's socket."""
        plugins = self._sides[side].plugins
        return (plugins.parent / "plugins_registry" if plugin.watched else plugins) / plugin.endpoint

    def _list(self, step: s.List) -> Seen:
        plugin = self._plugins[step.plugin]
        plugin.devices = parse_devices(step.devices)
        return self._say(plugin)

    def _flip(self, step: s.Flip) -> Seen:
        self._plugins[step.plugin].flip(step.ids)
        return self._say(self._plugins[step.plugin])

    def _say(self, plugin: Plugin) -> Seen:
        for name, streams in {name: serving.say() for name, serving in plugin.serving.items()}.items():
            for _ in range(streams):
                self._sides[name].wait_listed(plugin.resource, self._path(plugin, name))
        self._history.listed(plugin.name)
        return {}

    def _endstream(self, step: s.EndStream) -> Seen:
        plugin = self._plugins[step.plugin]
        return self._end(plugin, plugin.end_streams)

    def _kill(self, step: s.Kill) -> Seen:
        plugin = self._plugins[step.plugin]
        return self._end(plugin, plugin.kill)

    def _end(self, plugin: Plugin, end: Callable[[], None]) -> Seen:
        expecting = [
            (side, path)
            for name, side in self._sides.items()
            if name in plugin.serving and plugin.serving[name].open
            if side.expects_end(plugin.resource, path := self._path(plugin, name))
        ]
        end()
        for side, path in expecting:
            side.wait_ended(plugin.resource, path)
        self._history.ended(plugin.name)
        return {side.name: "noticed" for side, _ in expecting}

    def _answers(self, step: s.Answers) -> Seen:
        self._answered[step.plugin] = step
        if step.plugin in self._plugins:
            self._plugins[step.plugin].answers = step
        return {}

    # --- pods ---

    def _admit(self, step: s.Admit) -> Seen:
        return self._admissions({name: side.admit(list(step.pods)) for name, side in self._sides.items()}, step.pods)

    def _admissions(self, admissions: dict[str, list[Admission]], pods: Iterable[s.Pod]) -> Seen:
        self._history.refused = set()
        for pod in pods:
            self._history.met[pod.name] = pod
            refusals = [one.refused for name in admissions for one in admissions[name] if one.pod == pod.name]
            if None not in refusals:
                self._history.refused.add(pod.name)
            if any(refusals):
                self._history.pods.pop(pod.name, None)
            else:
                self._history.pods[pod.name] = pod
                self._history.admitted(pod.name)
        for one in admissions[self._judge]:
            if one.refused and re.search(KEEPS_DEVICES, one.refused.message):
                self._history.spoilt |= dict.fromkeys(self._history.wanted(one.pod), "ALLOC-5g")
        return self._plain(admissions)

    def _plain(self, admissions: dict[str, list[Admission]]) -> Seen:
        return {name: {one.pod: asdict(one) for one in admissions[name]} for name in admissions}

    def _delete_unequal(self) -> None:
        """A pod that only one side has, or that has other devices, would make all that follows different."""
        for side in self._sides.values():
            side.delete(list(self._history.unequal))
        for pod in self._history.unequal:
            self._history.pods.pop(pod, None)
        self._history.unequal = {}

    def _delete(self, step: s.Delete) -> Seen:
        for side in self._sides.values():
            side.delete(list(step.names))
        for name in step.names:
            self._history.pods.pop(name, None)
        return {}

    def _startagain(self, step: s.StartAgain) -> Seen:
        if step.name not in self._history.pods:
            return {}
        return self._plain({name: [side.start_again(step.name)] for name, side in self._sides.items()})

    def _resize(self, step: s.Resize) -> Seen:
        if step.name not in self._history.pods:
            return {}
        self._history.again = True
        refusals = {name: side.resize(step.name) for name, side in self._sides.items()}
        return {name: None if one is None else asdict(one) for name, one in refusals.items()}

    # --- the manager ---

    def _restart(self, step: s.Restart) -> Seen:
        return self._start_again(step.meanwhile)

    def _reboot(self, step: s.Reboot) -> Seen:
        self._kill_all()
        return self._start_again(step.meanwhile, before=step.before, reboot=True)

    def _handover(self, step: s.Handover) -> Seen:
        return self._start_again((), exchange=True)

    def _start_again(
        self,
        meanwhile: tuple[Step, ...],
        *,
        before: tuple[Step, ...] = (),
        reboot: bool = False,
        exchange: bool = False,
    ) -> Seen:
        for side in self._sides.values():
            side.stop()
        one, other = (read_checkpoint(side.plugins)["registered"].keys() for side in self._sides.values())
        self._history.restarted(one ^ other, handed_over=exchange)
        if exchange:
            self._exchange_checkpoints()
        for side in self._sides.values():
            side.start(reboot=reboot)
        early = [list(self.play(step)) for step in before]
        with ThreadPoolExecutor(len(self._sides)) as threads:
            judge = self._sides[self._judge].readmit(start=reboot)  # it does not wait
            ours = threads.submit(self._sides[self._ours].readmit, start=reboot)
            self._meanwhile = early + [list(self.play(step)) for step in meanwhile]
            return self._admissions({self._judge: judge, self._ours: ours.result()}, list(self._history.pods.values()))

    def _exchange_checkpoints(self) -> None:
        one, other = (side.plugins / FILE for side in self._sides.values())
        written = [path.read_bytes() if path.exists() else None for path in (one, other)]
        for path, content in zip((other, one), written, strict=True):
            path.unlink(missing_ok=True)
            if content is not None:
                path.write_bytes(content)

    def _graceperiodends(self, step: s.GracePeriodEnds) -> Seen:
        for side in self._sides.values():
            side.expire_grace()
        history = self._history
        history.expired |= {resource for resource in history.resources if not history.serving(resource)}
        return {}

    # --- looking ---

    def _look(self, step: s.Look) -> Seen:
        return {
            name: {aspect: self._see(side, aspect) for aspect in step.aspects} for name, side in self._sides.items()
        }

    def _see(self, side: Side, aspect: str) -> Any:
        match aspect:
            case "node":
                return side.node()
            case "pod-resources":
                pods = [*self._history.pods, "nobody"]
                return ask_pod_resources(side.plugins.parent / "pod-resources" / "kubelet.sock", pods)
            case "checkpoint":
                return side.checkpoint()
            case "health":
                return without_empty(side.health())
            case "metrics":
                return {name: one for name, one in side.metrics(METRICS).items() if one["counts"]}
        raise ValueError(aspect)


def _are_several(step: Step) -> bool:
    return isinstance(step, s.Admit) and len(step.pods) > 1


def _since(before: dict[str, list[Call]], now: dict[str, list[Call]]) -> dict[str, list[Call]]:
    """The calls that each plug-in has received since; those that received none are left out."""
    new = {name: calls[len(before.get(name, [])) :] for name, calls in now.items()}
    return {name: calls for name, calls in new.items() if calls}
