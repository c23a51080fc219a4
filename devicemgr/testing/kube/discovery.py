"""Where objects of a kind are in the API: the API server says it, also of kinds that it has been taught."""

from __future__ import annotations

from ...cluster.api.client import ApiClient
from ...cluster.objects.metadata import Object
from ...errors import BadInput
from ...input.yaml_fields import nearest


class Discovery:
    """Asks once for each version of an API."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api
        self._kinds: dict[str, dict[str, Object]] = {}

    async def path(self, found: Object, namespace: str) -> str:
        """Of this object, in ``namespace`` unless it names another one. Raises BadInput for an unknown kind."""
        kind = await self._kind_of(found)
        where = _root(found["apiVersion"])
        if place := await self.namespace_of(found, namespace):
            where += f"/namespaces/{place}"
        return f"{where}/{kind['name']}/{found['metadata']['name']}"

    async def namespace_of(self, found: Object, namespace: str) -> str:
        """Where it is; empty for an object that is in no namespace, as a Node. Raises BadInput for an unknown kind."""
        is_in_one = (await self._kind_of(found))["namespaced"]
        return found["metadata"].get("namespace") or namespace if is_in_one else ""

    async def _kind_of(self, found: Object) -> Object:
        version, kind = found.get("apiVersion"), found["kind"]
        if not isinstance(version, str):
            raise BadInput(f"a {kind} must say of which apiVersion it is", file=_name(found), field="apiVersion")
        kinds = await self._kinds_of(version, found)
        if kind not in kinds:
            raise BadInput(f"{version} has no {kind}{nearest(kind, kinds)}", file=_name(found), field="kind")
        return kinds[kind]

    async def _kinds_of(self, version: str, found: Object) -> dict[str, Object]:
        if version not in self._kinds:
            if not await self._is_known(version):
                raise BadInput(
                    f"the API server knows no {version}: is its CustomResourceDefinition applied?",
                    file=_name(found),
                    field="apiVersion",
                )
            resources = (await self._api.get(_root(version)))["resources"]
            self._kinds[version] = {one["kind"]: one for one in resources if "/" not in one["name"]}
        return self._kinds[version]

    async def _is_known(self, version: str) -> bool:
        if "/" not in version:
            return version in (await self._api.get("/api"))["versions"]
        groups = (await self._api.get("/apis"))["groups"]
        return any(one["groupVersion"] == version for group in groups for one in group["versions"])


def _root(version: str) -> str:
    return f"/apis/{version}" if "/" in version else f"/api/{version}"


def _name(found: Object) -> str:
    return f"{found['kind']} {found['metadata']['name']}"
