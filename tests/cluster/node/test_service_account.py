"""A node in a pod of the cluster, which is its service account."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trio

from devicemgr.cluster.api.client import ApiClient, open_api_client
from devicemgr.cluster.api.kubeconfig import find_connection
from devicemgr.errors import ApiError

from .conftest import PATIENCE

BINDINGS = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


@asynccontextmanager
async def service_account(kube, name: str, directory: Path):
    """Files and variables as a pod has them."""
    accounts = f"/api/v1/namespaces/{kube.namespace}/serviceaccounts"
    await kube.api.create(accounts, {"metadata": {"name": name}})
    token = await kube.api.create(f"{accounts}/{name}/token", {"spec": {}})
    for file, text in {
        "token": token["status"]["token"],
        "ca.crt": kube.cluster.certificate.read_text(),
        "namespace": kube.namespace,
    }.items():
        (directory / file).write_text(text)
    yield {
        "KUBERNETES_SERVICE_HOST": "127.0.0.1",
        "KUBERNETES_SERVICE_PORT": str(urlsplit(kube.cluster.url).port),
        "HOME": str(directory),
    }


@asynccontextmanager
async def bound(kube, command: str):
    """What ``kubectl create clusterrolebinding`` does, as the message of an error says it."""
    found = re.search(r"--clusterrole=(\S+) --serviceaccount=(\S+):(\S+)$", command)
    assert found, command
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": found[1]}
    subject = {"kind": "ServiceAccount", "namespace": found[2], "name": found[3]}
    await kube.api.create(BINDINGS, {"metadata": {"name": kube.namespace}, "roleRef": role, "subjects": [subject]})
    yield
    await kube.api.delete(f"{BINDINGS}/{kube.namespace}")


async def until_allowed(api: ApiClient) -> None:
    """The API server learns of a binding as everybody does."""
    asked = {"spec": {"resourceAttributes": {"verb": "create", "resource": "nodes"}}}
    with trio.fail_after(PATIENCE):
        while not (await api.create(REVIEWS, asked))["status"]["allowed"]:  # noqa: ASYNC110 - of another program
            await trio.sleep(0.02)


async def test_a_node_in_a_pod_has_the_permissions_of_a_kubelet_by_one_binding(kube, join, tmp_path):
    """It ends at first, and says by which."""
    async with service_account(kube, "devicemgr", tmp_path) as environ:
        connection = find_connection(environ=environ, service_account=tmp_path)
        async with open_api_client(connection) as api:
            with pytest.raises(ApiError, match="403 Forbidden") as refused:
                async with join(devices=1, api=api):
                    pass
            async with bound(kube, str(refused.value)):
                await until_allowed(api)
                await be_node(kube, join, api)


async def be_node(kube, join, api: ApiClient) -> None:
    async with join(devices=1, api=api) as joined:
        await kube.until_allocatable(1)
        await kube.create_pod("one", gpus=1)
        await kube.until_phase("one", "Running")
        await kube.create_pod("two", gpus=1)
        await kube.until_phase("two", "Failed")
        await kube.until_event("two", "UnexpectedAdmissionError")
        await kube.api.delete(f"{kube.pods}/one")
        await kube.until_gone("one")
        assert joined.seen("ApiRequestRefused") == []
