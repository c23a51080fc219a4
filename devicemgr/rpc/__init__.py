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

from __future__ import annotations

import warnings

# trio_asyncio replaces asyncio.current_task when it is imported, and grpclib binds whatever is there at its own import:
# from Python 3.12 on that is a C function which knows nothing of Trio. So trio_asyncio comes first, here, and nobody
# reaches grpclib but through this package. On newer Pythons the import itself warns of asyncio's policies, which is
# for its authors to mend.
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import trio_asyncio

__all__ = ["trio_asyncio"]
