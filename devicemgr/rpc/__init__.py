"""The border: the only part that imports grpclib, betterproto2, trio_asyncio or asyncio.

Outside it there are Trio and the values of ``model``; inside it there are asyncio and wire messages.

``bridge``      runs grpclib inside our Trio run: listening, dialling, calling, and who owns a handler
``local``       grpclib's connections with a size limit, and closing that closes
``convert``     wire message ↔ value (``convert_own``: of our own service)
``plugin_client``   the calls we make to a plug-in; ``registration_client``: to a socket that was found
``services``    what we serve: Registration, Allocation, and (for tests) DevicePlugin; ``pod_resources``: to agents
``manager_client``  what the command line calls
``stubs/``      generated from ``proto/`` by ``python -m tests.regenerate_stubs``; never edited
"""
