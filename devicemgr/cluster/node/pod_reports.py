"""What the API server is told of one pod: its status, and that it may go."""

from __future__ import annotations

import random

import trio

from ...daemon.event_log import EventLog
from ...errors import ApiError
from ...events import PodStatusPublished
from ..api.answers import CONFLICT, INVALID, NOT_FOUND
from ..api.client import ApiClient
from ..api.retries import Backoff
from ..objects.metadata import Object, full_name, pod_path, status_of, uid_of
from ..objects.pod_status import is_shown
from .refusals import RETRY_PERIOD, Refusals


class PodGone(Exception):
    """The API server has no such pod any more; perhaps another one has its name."""


class PodReports:
    """Writes what has become of pods, and goes on trying."""

    def __init__(self, api: ApiClient, log: EventLog, refusals: Refusals) -> None:
        self._api = api
        self._log = log
        self._refusals = refusals

    async def publish(self, pod: Object, patch: Object) -> Object:
        """The pod with this status. Nothing is sent if it has it already. Raises PodGone.

        A status that is refused is reported, and the pod stays as it is in the API.
        """
        if is_shown(status_of(pod), patch["status"]):
            return pod
        what = f"publish the status of {full_name(pod)}"
        try:
            answer = await self._persist(pod, what, patch)
        except ApiError as error:
            if error.code not in INVALID:
                raise
            self._refusals.report(what, error)
            return pod
        if status_of(answer).get("phase") != status_of(pod).get("phase"):
            metadata, status = answer["metadata"], status_of(answer)
            self._log.record(
                [
                    PodStatusPublished(
                        namespace=metadata["namespace"],
                        name=metadata["name"],
                        uid=metadata["uid"],
                        phase=status.get("phase", ""),
                        reason=status.get("reason", ""),
                    )
                ]
            )
        return answer

    async def _persist(self, pod: Object, what: str, patch: Object) -> Object:
        """Raises PodGone, or ApiError if the API server finds the status invalid. It also does when another pod has the
        name by now, since a uid does not change."""
        backoff = Backoff()
        while True:
            try:
                return await self._refusals.persist(
                    what,
                    lambda: self._api.patch(f"{pod_path(pod)}/status", patch, strategic=True),
                    but=[CONFLICT, NOT_FOUND, *INVALID],
                )
            except ApiError as error:
                if not await self._is_there(pod):
                    raise PodGone from None
                if error.code in INVALID:
                    raise
            backoff = backoff.failed()
            await trio.sleep(backoff.delay(random.random()))

    async def delete(self, pod: Object) -> None:
        """It has ended, so that its object may go. Raises PodGone, too, when that is so already."""
        what = f"delete {full_name(pod)}"
        while True:
            try:
                await self._refusals.persist(
                    what, lambda: self._api.delete(pod_path(pod), grace=0, uid=uid_of(pod)), but=[CONFLICT, NOT_FOUND]
                )
            except ApiError:
                if not await self._is_there(pod):
                    return
                await trio.sleep(RETRY_PERIOD)
            else:
                return

    async def _is_there(self, pod: Object) -> bool:
        """Or has another pod its name by now?"""
        try:
            found = await self._refusals.persist(
                f"read {full_name(pod)}", lambda: self._api.get(pod_path(pod)), but=[NOT_FOUND]
            )
        except ApiError:
            return False
        return uid_of(found) == uid_of(pod)
