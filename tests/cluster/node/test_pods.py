"""Pods that are bound to the node, as a watcher of the API sees them."""

from __future__ import annotations

from .conftest import GPU


async def test_a_pod_runs_with_its_devices(kube, join):
    async with join() as joined:
        await kube.create_pod("one", gpus=1)
        pod = await kube.until_phase("one", "Running")
        (main,) = pod["status"]["containerStatuses"]
        assert main["ready"]
        assert main["allocatedResourcesStatus"] == [
            {"name": GPU, "resources": [{"resourceID": "dev-0", "health": "Healthy"}]}
        ]
        assert pod["status"]["podIP"].startswith("198.1")
        assert joined.available() == 1
        await kube.api.delete(f"{kube.pods}/one")
        await kube.until_gone("one")
        assert joined.available() == 2
