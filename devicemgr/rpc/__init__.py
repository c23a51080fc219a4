"""The border: wire messages outside, the values of ``model`` inside.

``transport/``          gRPC over unix sockets, on Trio: knows nothing of device plug-ins
``calls``               making calls: waiting for the server, the latest message of a flood, errors
``wire_format``         whether bytes are a well-formed message
``messages``            decoding and converting; a malformed message is an error of its sender
``deviceplugin/``       the device plug-in API: registration, lists, allocation
``pluginregistration``  the plug-in watcher's API: which plug-in serves a socket
``pod_resources/``      the PodResources API: which pod uses which device
``admin/``              the Admin API, our own, which the command line calls
``stubs/``              generated from ``proto/`` by ``python -m tests.regenerate_stubs``; never edited
``encoded``             an answer that is encoded once for all callers
"""
