"""Plug-ins for tests.

``simulated``      a device plug-in in this process: real gRPC, real socket
``script``         the devices, answers and schedule of a simulated one, as a YAML file
``script_player``  a simulated one that follows its script
``own_socket``     a name for its socket that no other process uses
``strategies``     GetPreferredAllocation, as vendors' plug-ins answer it
``process``        plug-ins, programs too, that are registered when a block begins
"""
