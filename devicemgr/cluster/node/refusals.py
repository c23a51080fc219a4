"""What the API server refuses although a node has to do it: reported once, and tried again.

Failures that pass are the client's (``ApiClient.retrying``), and that the server is away is reported by the node. What
is left is mostly a permission that is missing, or a webhook that says no: somebody can change that while the node runs.
It is also reported if a failure that should pass lasts. But whoever starts a node wants to know at once, also of what a
client tries again: of credentials that nobody knows, and of a server that is not to be trusted.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Awaitable, Callable, Collection
from typing import TypeVar

import trio

from ...daemon.event_log import EventLog
from ...errors import ApiError, ApiUnreachable
from ...events import ApiRequestRefused
from ..api.answers import FORBIDDEN
from ..api.client import ApiClient
from ..api.retries import LASTING, Failure, concerns_one_request, is_down, needs_somebody, passes
from ..api.watch_events import WatchUseless

T = TypeVar("T")

REMEMBERED = 1000
"""Refusals that are not reported again. Most concern one pod, and of a pod that has gone nothing more is heard."""
RETRY_PERIOD = 10.0
"""Seconds until something that was refused is tried again."""

START_PERIOD, START_PATIENCE = 1.0, 30.0
"""Seconds between two tries of a node that starts while its API server does so too, and until it gives up."""


class Refusals:
    """Those of one node, as its log has them."""

    def __init__(self, api: ApiClient, log: EventLog) -> None:
        self._api = api
        self._log = log
        self._told: dict[str, str] = {}
        self.ends_the_node = True
        """Until it has joined: whoever starts it wants to know at once."""
        self._starts_until: float | None = None
        """How long an API server is waited for that refuses, and is not ready."""
        self._is_known = False
        """The API server has answered, and knows who asks."""

    def gives_up(self, failure: Failure) -> bool:
        """Is it one that nobody has to wait for, as the API server has never known us?"""
        return needs_somebody(failure) and not self._is_known

    async def persist(self, what: str, call: Callable[[], Awaitable[T]], *, but: Collection[int] = ()) -> T:
        """What ``call`` returns once it has succeeded. Raises ApiError with one of the codes in ``but``; and as long as
        the node has not joined, ApiError, ApiUntrusted and CredentialsUnavailable."""
        attempt = self._attempt(what, call)
        while True:
            try:
                answer = await self._api.retrying(attempt, gives_up=self.gives_up)
            except ApiError as error:
                self._is_known = not self.gives_up(error)
                if error.code in but:
                    self._told.pop(what, None)
                    raise
                if self.ends_the_node and not await self._may_pass_soon(error):
                    raise with_way_out(error) from None
                self.report(what, error)
            else:
                self._told.pop(what, None)
                self._is_known = True
                return answer
            await trio.sleep(START_PERIOD if self.ends_the_node else RETRY_PERIOD)

    async def _may_pass_soon(self, error: ApiError) -> bool:
        """An API server that is starting refuses everybody until it has read who may do what."""
        if error.code != FORBIDDEN or await self._api.is_ready():
            return False
        self._starts_until = self._starts_until or trio.current_time() + START_PATIENCE
        return trio.current_time() < self._starts_until

    def _attempt(self, what: str, call: Callable[[], Awaitable[T]]) -> Callable[[], Awaitable[T]]:
        """``call``, with a report if it alone fails, and for long."""
        since: float | None = None

        async def attempt() -> T:
            nonlocal since
            try:
                return await call()
            except (ApiError, ApiUnreachable) as failure:
                since = (trio.current_time() if since is None else since) if concerns_one_request(failure) else None
                if since is not None and trio.current_time() - since >= LASTING:
                    self.report(what, failure)
                raise

        return attempt

    def report(self, what: str, error: Failure) -> None:
        """Once, until it succeeds or another answer comes."""
        if self._told.get(what) != str(error):
            self._told[what] = str(error)
            self._log.record([ApiRequestRefused(what=what, problem=str(error))])
        while len(self._told) > REMEMBERED:
            del self._told[next(iter(self._told))]

    def lost(self, what: str, failure: Failure) -> None:
        """A watch cannot be had. Raises ApiError if it is refused and the node has not joined."""
        if isinstance(failure, ApiError) and self.ends_the_node and not passes(failure):
            raise with_way_out(failure)
        if isinstance(failure, WatchUseless) or not is_down(failure):
            self.report(what, failure)

    def reached(self, what: str) -> None:
        """It can be had again."""
        self._told.pop(what, None)


_FORBIDDEN = re.compile(r'User "(?P<user>[^"]+)" cannot (?!impersonate)')
"""In the words of an API server that does not let somebody do something."""
_NODE, _ACCOUNT, _ANONYMOUS = "system:node:", "system:serviceaccount:", "system:anonymous"


def with_way_out(error: ApiError) -> ApiError:
    """The same, with what would change it, if that is a permission."""
    found = _FORBIDDEN.search(error.message) if error.code == FORBIDDEN else None
    if found is None:
        return error
    return ApiError(error.code, error.reason, f"{error.message}. {_way_out(found['user'])}", error.retry_after)


def _way_out(user: str) -> str:
    if user == _ANONYMOUS:  # a binding would make everybody a node
        return (
            "The API server does not know who asks: the kubeconfig has no credentials for it, or of a kind that this "
            "API server does not take"
        )
    if user.startswith(_NODE):
        return f"These are the credentials of node {user.removeprefix(_NODE)}, which may be that one only"
    subject = f"serviceaccount={user.removeprefix(_ACCOUNT)}" if user.startswith(_ACCOUNT) else f"user={user}"
    role = f"kubectl create clusterrolebinding devicemgr --clusterrole=system:node {shlex.quote(f'--{subject}')}"
    return f"A node needs the permissions of a kubelet, which an administrator grants with: {role}"
