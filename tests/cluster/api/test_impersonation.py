"""Being somebody else to the API server."""

from __future__ import annotations

import pytest
import trio

from devicemgr.cluster.api.client import open_api_client
from devicemgr.cluster.api.connection import Connection, Fixed, Identity
from devicemgr.cluster.api.impersonation import acting_as, acting_as_node
from devicemgr.cluster.control_plane.processes import open_control_plane
from devicemgr.cluster.control_plane.programs import find_programs
from devicemgr.errors import ApiError, ProgramUnavailable

REVIEWS = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
REVIEW = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}


class Renewed:
    """Another token after each renewal."""

    def __init__(self) -> None:
        self.number = 0

    async def identity(self) -> Identity:
        return Identity.of_token(f"token-{self.number}")

    async def renew(self, refused: Identity) -> None:
        assert refused == await self.identity()
        self.number += 1


async def test_what_it_is_to_the_server_and_what_is_renewed_is_the_one_behind_it():
    credentials = acting_as(Connection("https://x", Renewed()), "alice", ["a", "b"]).credentials
    first = await credentials.identity()
    assert first.headers == (
        ("Authorization", "Bearer token-0"),
        ("Impersonate-User", "alice"),
        ("Impersonate-Group", "a"),
        ("Impersonate-Group", "b"),
    )
    await credentials.renew(first)
    await credentials.renew(first)  # it has been renewed meanwhile
    assert (await credentials.identity()).headers[0] == ("Authorization", "Bearer token-1")


def test_nothing_secret_is_shown():
    connection = Connection("https://x", Fixed(Identity.of_token("secret")))
    assert "secret" not in repr(acting_as_node(connection, "node-1"))


async def test_a_node_may_change_itself_and_no_other(tmp_path):
    try:
        programs = await find_programs()
    except ProgramUnavailable as missing:
        pytest.skip(str(missing))
    with trio.fail_after(100):
        async with open_control_plane(tmp_path, programs) as cluster, cluster.client() as admin:
            async with open_api_client(acting_as_node(admin.connection, "node-1")) as api:
                user = (await api.create(REVIEWS, REVIEW))["status"]["userInfo"]
                assert (user["username"], "system:nodes" in user["groups"]) == ("system:node:node-1", True)
                for name in ("node-1", "node-2"):
                    await admin.create("/api/v1/nodes", {"metadata": {"name": name}})
                await api.patch("/api/v1/nodes/node-1/status", {"status": {"capacity": {"cpu": "1"}}})
                with pytest.raises(ApiError, match="403"):
                    await api.patch("/api/v1/nodes/node-2/status", {"status": {"capacity": {"cpu": "1"}}})
