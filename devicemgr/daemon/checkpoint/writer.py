"""The state on disk: read once at the start, then written by one task.

With one writer an older version never follows a newer one (LIM-25). Each write takes the current state, so all changes
that came during a write are written together: a hundred pods admitted at once cost a few writes, not a hundred. To
wait until a change is on disk, call :meth:`CheckpointWriter.flush`.

When nothing has changed for a second, the file is written a second time, under another name: if one of them is damaged,
the other has every pod that was admitted (LIM-10).

The files are watched (``loss_detector``), and written again if they are deleted or replaced.
"""

from __future__ import annotations

import math
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import trio

from ...concurrency.condition_variable import ConditionVariable
from ...concurrency.steps import Steps
from ...concurrency.task_descriptions import describes_task
from ...concurrency.turns import run_in_turns
from ...core.checkpoint.kubelet_format import (
    FILE_NAME,
    Entry,
    Fragment,
    entry_fragment,
    format_checkpoint,
    parse_checkpoint,
    registered_fragment,
)
from ...core.checkpoint.own_section import SavedCheckpoint, format_section, load_snapshot, parse_section, pod_fragment
from ...core.devices.pod_devices import Assignment
from ...core.devices.store import DeviceStore, Snapshot
from ...core.views.node_status import should_reset_extended_resources
from ...errors import CheckpointUnwritable
from ...events import (
    AssignmentRestored,
    CheckpointFailed,
    CheckpointLost,
    CheckpointWritten,
    PodRestored,
    StateRestored,
)
from ...model import DeviceId, Owner, Pod, PodUid, ResourceName
from ...rpc.deviceplugin.convert import answer_from_bytes, answer_to_bytes
from ..event_log import EventLog
from ..file_watch import FileWatch
from ..layout import Directories, Layout
from .durable_file import DurableFile, FileIdentity, identity_of
from .loss_detector import LossDetector

RETRY_DELAY = 1.0
"""Seconds after a failed write until the next attempt, doubled each time up to ``MAX_RETRY_DELAY``."""
MAX_RETRY_DELAY = 30.0
WATCH_DELAY = 0.1
"""Seconds without a change before the files are watched. A write looks at them anyway, and costs less than a watch."""
COPY_DELAY = 0.9
"""Seconds after that without a change before the file is written a second time."""
NO_VERSION = -1
"""The version on disk when there is no file."""
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def read_boot_id() -> str:
    """The kernel's id of this boot; empty where there is none."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


def checkpoint_file(layout: Layout) -> DurableFile[SavedCheckpoint]:
    """The checkpoint of the manager with this layout."""
    return DurableFile(layout.plugins / FILE_NAME, parse_saved)


def parse_saved(text: str) -> SavedCheckpoint:
    """The text of a checkpoint, with or without our section. Raises CorruptCheckpoint."""
    checkpoint = parse_checkpoint(text)
    section = None if checkpoint.section is None else parse_section(checkpoint.section)
    return SavedCheckpoint(checkpoint=checkpoint, section=section)


def restore(file: DurableFile[SavedCheckpoint], store: DeviceStore, log: EventLog, *, boot_id: str) -> None:
    """Read the state that an earlier run has left into ``store``. Raises DirectoryUnusable."""
    saved, problems = file.load()
    # A file that could not be trusted has been set aside, and is not in the directory any more.
    store.should_reset = should_reset_extended_resources(os.listdir(file.path.parent))
    log.record(problems)
    if saved is None:
        return
    loaded = load_snapshot(saved, answer_from_bytes)
    before = saved.section.boot_id if saved.section else ""
    rebooted = bool(before and boot_id) and before != boot_id
    snapshot = loaded.snapshot
    store.restore(snapshot, now=trio.current_time(), rebooted=rebooted)
    log.record(
        [
            StateRestored(
                resources=tuple(snapshot.registered),
                removed=snapshot.removed,
                pods=tuple(pod.full_name for pod in snapshot.pods),
                devices=sum(len(assignment.devices) for _, _, assignment in snapshot.assignments),
                rebooted=rebooted,
                skipped=loaded.skipped,
            ),
            *(
                AssignmentRestored(
                    pod_uid=owner.pod_uid, container=owner.container, resource=resource, devices=assignment.devices
                )
                for owner, resource, assignment in snapshot.assignments
            ),
            *(PodRestored(namespace=pod.namespace, name=pod.name, uid=pod.uid) for pod in snapshot.pods),
        ]
    )


@dataclass(slots=True)
class _FragmentCache:
    """The fragments of the last text, each with the object it was made of: only what has changed is rendered."""

    entries: dict[tuple[Owner, ResourceName], tuple[Assignment, Fragment]] = field(default_factory=dict)
    registered: dict[ResourceName, tuple[tuple[DeviceId, ...], Fragment]] = field(default_factory=dict)
    pods: dict[PodUid, tuple[Pod, str]] = field(default_factory=dict)

    def render(self, snapshot: Snapshot, boot_id: str) -> Steps[str]:
        """The text of the file."""
        entries: dict[tuple[Owner, ResourceName], tuple[Assignment, Fragment]] = {}
        for owner, name, assignment in snapshot.assignments:
            cached = self.entries.get((owner, name))
            if cached is None or cached[0] is not assignment:
                cached = assignment, _fragment(owner, name, assignment)
                yield
            entries[owner, name] = cached
        registered: dict[ResourceName, tuple[tuple[DeviceId, ...], Fragment]] = {}
        for name, healthy in snapshot.registered.items():
            known = self.registered.get(name)
            if known is None or known[0] is not healthy:
                known = healthy, (yield from registered_fragment(name, healthy))
            registered[name] = known
        pods: dict[PodUid, tuple[Pod, str]] = {}
        for pod in snapshot.pods:
            old = self.pods.get(pod.uid)
            if old is None or old[0] is not pod:
                old = pod, pod_fragment(pod)
                yield
            pods[pod.uid] = old
        self.entries, self.registered, self.pods = entries, registered, pods
        pod_texts = (text for _, text in pods.values())
        section = format_section(pod_texts, snapshot.options, snapshot.removed, snapshot.unconfirmed, boot_id=boot_id)
        return format_checkpoint(
            (fragment for _, fragment in entries.values()),
            {name: fragment for name, (_, fragment) in registered.items()},
            section=section,
        )


def _fragment(owner: Owner, resource: ResourceName, assignment: Assignment) -> Fragment:
    answer = answer_to_bytes(assignment.answer) if assignment.raw is None else assignment.raw
    return entry_fragment(Entry(owner=owner, resource=resource, devices=assignment.devices, answer=answer))


class CheckpointWriter:
    """Keeps the file of one store up to date. Made by :func:`open_checkpoint_writer`."""

    def __init__(
        self,
        store: DeviceStore,
        directories: Directories,
        file: DurableFile[SavedCheckpoint],
        log: EventLog,
        boot_id: str,
        watch: FileWatch,
    ) -> None:
        self.store = store
        self._directories = directories
        self._log = log
        self._boot_id = boot_id
        self._fragments = _FragmentCache()
        self._saved_text = ""  # of the last good write
        self._lost_text: str | None = None  # the same, after the file was lost
        self._saved_version = self._tried_version = 0  # of the store: on disk, and in the last attempt
        self._is_copy_due = False
        self._loss_detector = LossDetector(watch)
        left = identity_of(file.path)  # by an earlier run
        self._file = replace(file, is_new=left is None)
        self._loss_detector.expect(file.path, left)
        self._is_file_ours = True  # the file at the path, if there is one
        self._next_check, self._check_interval = -math.inf, RETRY_DELAY
        self._problem = ""
        self._attempted = ConditionVariable()
        self._flush_requested = False
        self._is_finished = False

    @describes_task(waits_for="the checkpoint to be on disk")
    async def flush(self) -> None:
        """Return when all changes up to now are on disk. Raises CheckpointUnwritable when the attempt fails, and after
        :meth:`finish`."""
        version = self.store.version
        self._flush_requested = self._saved_version < version
        self._log.changed.notify()  # the writer waits for it
        while self._saved_version < version:
            if self._is_finished:
                raise CheckpointUnwritable("this incarnation of the manager has ended; the next knows what is on disk")
            await self._attempted.wait()
            if self._saved_version < version <= self._tried_version:
                raise CheckpointUnwritable(self._problem)

    @describes_task(name="checkpoint writer")
    async def run(self) -> None:
        """Write whenever something changed, until cancelled."""
        pause = 0.0  # after a failed write, until the next attempt
        while True:
            has_work = await self._wait_for_work(pause or (COPY_DELAY if self._is_copy_due else math.inf))
            if not (has_work or pause):
                await self._save_copy()
            elif await self._write():
                pause = 0.0
            else:
                pause = min(max(pause * 2, RETRY_DELAY), MAX_RETRY_DELAY)

    async def finish(self) -> None:
        """The last write, when the state changes no more. It also replaces files that were lost."""
        self._notice_losses()
        if self.store.version > self._saved_version:
            # A root directory that was moved away is created again: nothing can wait for its return any more.
            with suppress(OSError):  # the write fails too, and reports it
                self._directories.make_all()
            await self._write()
        if self._is_copy_due:
            await self._save_copy()
        self._is_finished = True
        self._attempted.notify()

    def _has_work(self) -> bool:
        return self._flush_requested or self.store.version > self._tried_version

    @describes_task(waits_for="a change of the state")
    async def _wait_for_work(self, patience: float) -> bool:
        """True when there is a change to write, or a file was lost; False after ``patience`` seconds without either."""
        if self._is_copy_due:
            with trio.move_on_after(WATCH_DELAY):
                await self._log.wait_until(self._has_work)
                return True
        with trio.move_on_after(patience):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch_disk, nursery.cancel_scope)
                await self._log.wait_until(self._has_work)
                nursery.cancel_scope.cancel()
            return True
        return False

    @describes_task(name="watch of the files", waits_for="a file that is lost")
    async def _watch_disk(self, waiting: trio.CancelScope) -> None:
        """A file that is deleted again and again is written again and again, but with growing pauses."""
        await trio.sleep_until(self._next_check)
        await self._loss_detector.wait_for_loss()
        waiting.cancel()

    def _notice_losses(self) -> None:
        losses = self._loss_detector.losses()
        if not losses:
            return
        for path in losses:
            self._loss_detector.expect(path, None)
        if self._file.path in losses:
            self._lost_text = self._saved_text or self._lost_text
            self._saved_text, self._saved_version, self._is_file_ours = "", NO_VERSION, False
            self._loss_detector.expect(self._file.previous, None)  # the copy is written after the file in any case
        else:
            self._is_copy_due = True
        now = trio.current_time()
        is_repeated = now < self._next_check + MAX_RETRY_DELAY
        self._check_interval = min(self._check_interval * 2, MAX_RETRY_DELAY) if is_repeated else RETRY_DELAY
        self._next_check = now + self._check_interval
        self._log.record(CheckpointLost(path=str(path), how=how) for path, how in losses.items())

    @describes_task(waits_for="the disk")
    async def _write(self) -> bool:
        self._notice_losses()
        self._flush_requested = False
        snapshot = self.store.snapshot()
        started = trio.current_time()
        text = await run_in_turns(self._fragments.render(snapshot, self._boot_id))
        try:
            if text != self._saved_text:
                await self._save(text)
        except OSError as error:
            # It may have failed after the rename: what the file contains is not known, so it cannot be copied.
            self._saved_text, self._is_copy_due = "", False
            self._loss_detector.expect(self._file.path, None)
            self._record_failure(error, snapshot.version)
        else:
            self._saved_version = snapshot.version
            took = round(trio.current_time() - started, 6)
            self._log.record([CheckpointWritten(version=snapshot.version, size=len(text), seconds=took)])
        self._tried_version = snapshot.version
        self._attempted.notify()
        return self._saved_version == snapshot.version

    async def _save(self, text: str) -> None:
        file = self._file
        self._prepare_directory()
        save = file.save if self._is_file_ours else partial(file.save_after_loss, before=self._lost_text)
        identity = await _in_thread(save, text)
        self._loss_detector.expect(file.path, identity)
        if self._is_file_ours:  # the previous generation has replaced the copy, and is not watched
            self._loss_detector.expect(file.previous, None)
        self._saved_text, self._is_copy_due, self._is_file_ours, self._lost_text = text, True, True, None
        if file.is_new:
            self._file = replace(file, is_new=False)

    @describes_task(waits_for="the disk")
    async def _save_copy(self) -> None:
        """A failure is recorded, and there is another attempt after the next write: no caller waits for the copy."""
        self._is_copy_due = False
        try:
            self._prepare_directory()
            identity = await _in_thread(self._file.save_copy, self._saved_text)
            self._loss_detector.expect(self._file.previous, identity)
        except OSError as error:
            self._record_failure(error, self._saved_version)

    def _prepare_directory(self) -> None:
        """The directory may have been deleted, or others may have put something at our paths. Raises OSError, also when
        the root directory was moved away."""
        self._directories.make(self._directories.layout.plugins)
        self._log.record(self._file.set_aside_foreign())

    def _record_failure(self, error: OSError, version: int) -> None:
        self._problem = f"{error.filename or self._file.path}: {error.strerror or error}"
        self._log.record([CheckpointFailed(version=version, problem=self._problem)])


async def _in_thread(save: Callable[[str], FileIdentity | None], text: str) -> FileIdentity | None:
    """In a thread or, where the machine has no thread to spare, in this one, which blocks all tasks meanwhile."""
    try:
        return await trio.to_thread.run_sync(save, text)
    except RuntimeError as error:
        if "start new thread" not in str(error):
            raise
        return save(text)


@asynccontextmanager
async def open_checkpoint_writer(
    store: DeviceStore, directories: Directories, log: EventLog, *, boot_id: str
) -> AsyncIterator[CheckpointWriter]:
    """Write for as long as the block lasts, and once more after it, so that the last changes are on disk, too."""
    with FileWatch() as watch:
        writer = CheckpointWriter(store, directories, checkpoint_file(directories.layout), log, boot_id, watch)
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
