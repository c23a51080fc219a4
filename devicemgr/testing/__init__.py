"""For tests of any project: a stand-in for a device plug-in that speaks real gRPC on a real socket.

    async with open_simulated_plugin(directory, "vendor.com/gpu", devices=8) as plugin:
        await plugin.register()

Nothing here needs pytest.
"""

from .simulated_plugin import SimulatedPlugin, open_simulated_plugin

__all__ = ["SimulatedPlugin", "open_simulated_plugin"]
