"""A real Kubernetes cluster on this machine, for tests.

    programs = await find_programs()
    async with open_control_plane(directory, programs, nodes=["node-1"]) as cluster:
        async with cluster.client() as api:
            node = await api.get("/api/v1/nodes/node-1")

``api/``            the border: how an API server is spoken to
``objects/``        pure: what the objects of a node look like
``control_plane/``  Kubernetes' own programs as one nursery, and where they come from
``node/``           tasks: a manager as a node of a cluster
"""
