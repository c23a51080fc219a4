"""Kubernetes' own managers in a process of their own (``go_manager``), asked by a line on its standard input."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from .checkpoint import read_checkpoint
from .side import Admission, Crashed, Refusal, Started
from .story import Pod, Step, Story

NEVER_RESET = "kubelet_topology_manager_admission_duration_ms"
"""It has no labels, and so the registry does not reset it when a manager starts."""


class GoSide:
    name = "go"
    cannot: ClassVar[frozenset[type[Step]]] = frozenset()

    def __init__(self, program: Path):
        self._program = program
        self._start_process()
        self._root: Path
        self._story: Story
        self._pods: dict[str, Pod] = {}
        self._seen: Counter[tuple[str, str]] = Counter()
        self._counted: dict[str, Any] = {}

    def _start_process(self) -> None:
        pipe = subprocess.PIPE
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - open as long as the process
        self._process = subprocess.Popen([self._program], stdin=pipe, stdout=pipe, stderr=self._errors)

    def close(self) -> None:
        """The process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()
        self._errors.close()

    def _ask(self, do: str, **command: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": do, **command}).encode() + b"\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            self._errors.seek(0)
            raise Crashed(self._errors.read())
        answer = json.loads(line)
        if "error" in answer:
            raise AssertionError(f"{do}: {answer['error']}")
        return answer.get("value")

    @property
    def plugins(self) -> Path:
        return self._root / "device-plugins"

    def open(self, story: Story, directory: Path) -> None:
        if self._process.poll() is not None:
            self.close()
            self._start_process()
        self._root, self._story, self._pods = directory, story, {}
        self.start(new=True)

    def start(self, *, new: bool = False, reboot: bool = False) -> None:
        self._seen.clear()
        self._counted = {}
        story = self._story
        running = [
            (pod.uid, name)
            for pod in self._pods.values()
            for name, container in pod.named()
            if container.kind != "init" and not reboot
        ]
        self._ask(
            "start",
            new=new,
            directory=str(self._root),
            policy=story.policy,
            scope=story.scope,
            options={"prefer-closest-numa-nodes": "true"} if story.closest else None,
            nodes=story.numa,
            distances=[story.distances(node) for node in range(story.numa)],
            running=running,
            unknown=not new,
            watch=story.watches,
        )
        self._counted = self._ask("metrics", names=[NEVER_RESET])

    def stop(self) -> None:
        self._ask("stop")

    def leave(self) -> None:
        if self._process.poll() is None:
            self.stop()

    def wait_listed(self, resource: str, socket: Path) -> None:
        self._wait("written", resource)

    def expects_end(self, resource: str, socket: Path) -> bool:
        return bool(self._ask("tracks", resource=resource, socket=str(socket)))

    def wait_ended(self, resource: str, socket: Path) -> None:
        self._wait("gone", resource)

    def _wait(self, what: str, resource: str) -> None:
        self._seen[what, resource] += 1
        self._ask("wait", what=what, resource=resource, count=self._seen[what, resource])

    def admit(self, pods: list[Pod], *, start: bool = True) -> list[Admission]:
        answers = self._ask("admit-pods", manifests=[_manifest(pod) for pod in pods], start=start)
        admissions = [_admission(raw) for raw in answers]
        for pod, admission in zip(pods, admissions, strict=True):
            if admission.refused is None:
                self._pods[pod.name] = pod
            else:
                self._pods.pop(pod.name, None)
        return admissions

    def delete(self, names: list[str]) -> None:
        self._ask("delete", uids=[self._pods.pop(name).uid for name in names if name in self._pods])

    def start_again(self, name: str) -> Admission:
        return _admission(self._ask("start-again", manifests=[_manifest(self._pods[name])]))

    def resize(self, name: str) -> Refusal | None:
        raw = self._ask("resize", manifests=[_manifest(self._pods[name])])
        return None if raw is None else Refusal(**raw)

    def readmit(self, *, start: bool) -> list[Admission]:
        admissions = [one for pod in list(self._pods.values()) for one in self.admit([pod], start=start)]
        self._ask("all-pods-known")
        return admissions

    def expire_grace(self) -> None:
        self._ask("expire-grace")

    def node(self) -> dict[str, tuple[int, int]]:
        return {name: (counts[0], counts[1]) for name, counts in self._ask("node").items()}

    def checkpoint(self) -> dict[str, Any]:
        return read_checkpoint(self.plugins)

    def health(self) -> dict[str, Any]:
        return dict(self._ask("health"))

    def metrics(self, names: list[str]) -> dict[str, Any]:
        families: dict[str, Any] = self._ask("metrics", names=names)
        for name, family in self._counted.items():
            for labels, count in family["counts"].items():
                families[name]["counts"][labels] -= count
        return families


def _manifest(pod: Pod) -> dict[str, Any]:
    """With what the API server and the scheduler add: the uid, and which resources come from claims."""
    manifest = pod.manifest()
    manifest["metadata"]["uid"] = pod.uid
    mappings = [
        {"containerName": container, "resourceName": resource, "requestName": f"request-{number}"}
        for number, (container, resource) in enumerate(pod.claims())
    ]
    if mappings:
        manifest["status"] = {
            "extendedResourceClaimStatus": {"resourceClaimName": f"claim-of-{pod.name}", "requestMappings": mappings}
        }
    return manifest


def _admission(raw: dict[str, Any]) -> Admission:
    return Admission(
        pod=raw["pod"],
        refused=None if raw["refused"] is None else Refusal(**raw["refused"]),
        containers={name: Started(**one) for name, one in raw["containers"].items()},
    )
