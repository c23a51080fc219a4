"""The state on disk: read once at the start, then written by one task, newest version first and last.

One writer, so nothing older ever follows something newer (LIM-25). It takes what there is *now*, so any number of
changes that came while it wrote go out together: a hundred pods admitted at once cost a few writes, not a hundred.
Whoever promised something waits for :meth:`CheckpointWriter.flush`.

Two files cannot be renamed at one moment, so their order says what a crash means: pods are written before their
devices and removed after them. A pod without devices was then never answered, and no device is without its pod.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trio

from ..core.checkpoint import (
    FILE_NAME,
    Checkpoint,
    Entry,
    Fragment,
    entry_fragment,
    format_checkpoint,
    parse_checkpoint,
    registered_fragment,
)
from ..core.holdings import Assignment, in_order
from ..core.node_state import NodeState, combine, parse_state, render_state, state_of
from ..core.store import DeviceStore, Snapshot
from ..errors import CheckpointUnwritable
from ..events import CheckpointFailed, CheckpointWritten, StateRestored
from ..model import DeviceId, Owner, ResourceName
from ..rpc.convert import answer_from_bytes, answer_to_bytes
from .directory import Layout
from .event_log import EventLog
from .generations import GenerationFile

RETRY_AFTER = 1.0
"""Seconds after a failed write until the next attempt, doubled each time up to ``LONGEST_RETRY``."""
LONGEST_RETRY = 30.0
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def read_boot_id() -> str:
    """The kernel's name for this boot; empty where there is none."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


@dataclass(frozen=True, slots=True)
class StateFiles:
    """The two files of one manager."""

    checkpoint: GenerationFile[Checkpoint]
    state: GenerationFile[NodeState]

    @classmethod
    def of(cls, layout: Layout) -> StateFiles:
        return cls(
            checkpoint=GenerationFile(layout.plugins / FILE_NAME, parse_checkpoint),
            state=GenerationFile(layout.own / "state.json", parse_state),
        )

    def restore_into(self, store: DeviceStore, log: EventLog, *, boot_id: str) -> None:
        """Read what an earlier life left, and say what came of it. Raises DirectoryUnusable."""
        checkpoint, problems = self.checkpoint.load()
        state, more = self.state.load()
        log.record([*problems, *more])
        if checkpoint is None and state is None:
            return
        state = state or NodeState()
        combined = combine(checkpoint or Checkpoint(), state, answer_from_bytes)
        rebooted = bool(state.boot_id and boot_id) and state.boot_id != boot_id
        snapshot = combined.snapshot
        store.restore(snapshot, now=trio.current_time(), rebooted=rebooted)
        log.record(
            [
                StateRestored(
                    resources=tuple(snapshot.registered),
                    pods=tuple(pod.full_name for pod in snapshot.pods),
                    devices=sum(len(assignment.devices) for _, _, assignment in snapshot.assignments),
                    rebooted=rebooted,
                    lost=tuple(pod.full_name for pod in combined.lost),
                    skipped=combined.skipped,
                )
            ]
        )


@dataclass(slots=True)
class _Rendered:
    """Texts of what did not change since the last write, by the identity of what they were made of."""

    entries: dict[tuple[Owner, ResourceName], tuple[Assignment, Fragment]] = field(default_factory=dict)
    registered: dict[ResourceName, tuple[frozenset[DeviceId], Fragment]] = field(default_factory=dict)

    def checkpoint(self, snapshot: Snapshot) -> str:
        entries, registered = self.entries, self.registered
        self.entries = {
            (owner, name): kept
            if (kept := entries.get((owner, name))) is not None and kept[0] is assignment
            else (assignment, _fragment(owner, name, assignment))
            for owner, name, assignment in snapshot.assignments
        }
        self.registered = {
            name: was
            if (was := registered.get(name)) is not None and was[0] == healthy
            else (healthy, registered_fragment(name, in_order(healthy)))
            for name, healthy in snapshot.registered.items()
        }
        return format_checkpoint(
            (fragment for _, fragment in self.entries.values()),
            {name: fragment for name, (_, fragment) in self.registered.items()},
        )


def _fragment(owner: Owner, resource: ResourceName, assignment: Assignment) -> Fragment:
    return entry_fragment(
        Entry(owner=owner, resource=resource, devices=assignment.devices, answer=answer_to_bytes(assignment.answer))
    )


class CheckpointWriter:
    """Keeps the files of one store up to date. Made by :func:`open_checkpoint_writer`."""

    def __init__(self, store: DeviceStore, files: StateFiles, log: EventLog, boot_id: str) -> None:
        self._store = store
        self._files = files
        self._log = log
        self._boot_id = boot_id
        self._rendered = _Rendered()
        self._on_disk: tuple[str, str] = ("", "")  # the texts of checkpoint and state
        self._pods_on_disk = store.pods
        self._durable = self._tried = 0  # versions: what is on disk, and what the last attempt was about
        self._problem = ""
        self._attempted = trio.Event()
        self._asked = False

    async def flush(self) -> None:
        """Return when everything up to now is on disk. Raises CheckpointUnwritable when the attempt failed."""
        version = self._store.version
        self._asked = self._durable < version
        self._log.record(())  # wakes the writer
        while self._durable < version:
            await self._attempted.wait()
            if self._durable < version <= self._tried:
                raise CheckpointUnwritable(self._problem)

    async def run(self) -> None:
        """Write whenever something changed, until cancelled."""
        pause = RETRY_AFTER
        while True:
            with trio.move_on_after(pause if self._durable < self._tried else float("inf")):
                await self._log.wait_until(lambda: self._asked or self._store.version > self._tried)
            pause = RETRY_AFTER if await self._attempt() else min(pause * 2, LONGEST_RETRY)

    async def finish(self) -> None:
        """The last write, when nothing changes any more."""
        if self._store.version > self._durable:
            await self._attempt()

    async def _attempt(self) -> bool:
        snapshot = self._store.snapshot()
        started = trio.current_time()
        checkpoint = self._rendered.checkpoint(snapshot)
        self._asked = False
        try:
            await trio.to_thread.run_sync(self._save, snapshot, checkpoint)
        except OSError as error:
            self._problem = f"{error.filename or self._files.checkpoint.path}: {error.strerror or error}"
            self._log.record([CheckpointFailed(version=snapshot.version, problem=self._problem)])
        else:
            self._durable = snapshot.version
            took = round(trio.current_time() - started, 6)
            self._log.record([CheckpointWritten(version=snapshot.version, size=len(checkpoint), seconds=took)])
        self._tried = snapshot.version
        self._attempted.set()
        self._attempted = trio.Event()
        return self._durable == snapshot.version

    def _save(self, snapshot: Snapshot, checkpoint: str) -> None:
        """In a worker thread: new pods, then devices, then without the pods that have gone."""
        known = {pod.uid for pod in self._pods_on_disk}
        if any(pod.uid not in known for pod in snapshot.pods):
            self._save_state(snapshot, also=True)
        if checkpoint != self._on_disk[0]:
            self._files.checkpoint.save(checkpoint)
            self._on_disk = (checkpoint, self._on_disk[1])
        self._save_state(snapshot, also=False)

    def _save_state(self, snapshot: Snapshot, *, also: bool) -> None:
        state = state_of(snapshot, boot_id=self._boot_id, also=self._pods_on_disk if also else ())
        text = render_state(state)
        if text != self._on_disk[1]:
            self._files.state.save(text)
            self._on_disk = (self._on_disk[0], text)
            self._pods_on_disk = state.pods


@asynccontextmanager
async def open_checkpoint_writer(
    store: DeviceStore, files: StateFiles, log: EventLog, *, boot_id: str
) -> AsyncIterator[CheckpointWriter]:
    """Write for as long as the block lasts, and once more after it: what was said last is on disk too."""
    writer = CheckpointWriter(store, files, log, boot_id)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(writer.run)
            try:
                yield writer
            finally:
                nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):
            await writer.finish()
