"""The border to an API server.

    async with open_api_client(find_connection()) as api:
        node = await api.get("/api/v1/nodes/node-1")
        async with api.reflect("/api/v1/pods", fieldSelector="spec.nodeName=node-1") as changes:
            async for change in changes:  # Synced, then Changed and Deleted; Lost and Reached when that is so
                …

``client``        the little of a Kubernetes client that is needed here: objects as JSON
``kubeconfig``    a user's kubeconfig, or a pod's service account → a connection
``connection``    what has to be known of an API server, and who we are to it
``credentials``   tokens and certificates, some of them in files that somebody replaces
``impersonation``  being somebody else, as a node is its kubelet
``exec_plugin``   programs that print credentials
``tokens``        tokens as a header
``proxy``         the proxy that the environment names for a server
``tls``           TLS as Go has it
``http``          requests and streams over httpcore2, whose failures become two of ours
``network``       the connections below it
``answers``       what an API server answers, as values
``retries``       after which failure a request is made again, and when
``reachability``  whether the API server answers: an outage is one change of state
``reflector``     list, watch, list again: all objects of a collection, and each change
``watch_events``  the bytes of a watch, as events
"""
