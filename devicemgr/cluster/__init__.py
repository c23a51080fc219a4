"""A real Kubernetes control plane on this machine, for tests: etcd and kube-apiserver on loopback.

    programs = await find_programs()
    async with open_control_plane(directory, programs, nodes=["node-1"]) as cluster:
        async with cluster.client() as api:
            node = await api.get("/api/v1/nodes/node-1")

``control_plane``      etcd and kube-apiserver as one nursery
``programs``           where their programs come from: envtest's directory, the PATH, or built here
``go_program``         a Go module that is compiled into the user's cache
``go_control_plane/``  the Go module: etcd, kube-apiserver and kube-scheduler as one program
``api_client``         the little of a Kubernetes client that is needed here
"""
