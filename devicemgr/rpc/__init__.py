"""The border: wire messages outside, the values of ``model`` inside.

``transport/``  gRPC over unix sockets, on Trio: knows nothing of device plug-ins
``calls``       calling: patience while dialling, the newest of a flood, what a failed call means
``convert``     wire message ↔ value (``convert_own``: of our own service); ``device_list``: of lists, by difference
``plugin_client``   the calls we make to a plug-in; ``registration_client``: to a socket that was found
``services``    what we serve: Registration, Allocation, and (for tests) DevicePlugin; ``pod_resources``: to agents
``manager_client``  what the command line calls; ``status``: the answer that has every device that is held
``encoded``     an answer that many ask for, encoded once
``stubs/``      generated from ``proto/`` by ``python -m tests.regenerate_stubs``; never edited
"""
