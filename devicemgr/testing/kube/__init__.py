"""A real cluster for tests: pods by ``apply``, a scheduler that places them, nodes with managers of ours.

    async with open_kube_cluster(directory) as cluster, cluster.open_node("node-1", directory / "node") as node:
        async with open_registered_plugin(node.manager, "vendor.com/gpu", devices=4), cluster.open_namespace() as kube:
            pod = await kube.apply("pod.yaml")
            await kube.wait_for_pod(pod, phase="Running")

``cluster``    the control plane, and its nodes
``namespace``  what a test does in a namespace of its own
``documents``  dictionaries, YAML texts and files → objects
``discovery``  where objects of a kind are in the API
``failure``    pure: what is shown when a pod is not as wanted
"""
