"""The border: the only part that imports grpclib, betterproto2, trio_asyncio or asyncio.

Outside it there are Trio and the values of ``model``; inside it there are asyncio and wire messages.

``bridge``      runs grpclib inside our Trio run: listening, dialling, calling, and who owns a handler
``local``       grpclib's connections with a size limit, and closing that closes
``convert``     wire message ↔ value
``plugin_client``   the calls we make to a plug-in
``services``    what we serve: Registration, Allocation, and (for tests) DevicePlugin
``manager_client``  what the command line calls
``stubs/``      generated from ``proto/`` by ``python -m tests.regenerate_stubs``; never edited
"""
