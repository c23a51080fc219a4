"""Plug-ins for a test.

``simulated``      a device plug-in in this process: real gRPC, real socket
``script``         what a simulated one has, answers and goes through, as a YAML file
``script_player``  a simulated one that follows its script
``own_socket``     a name for its socket that no other process has
``strategies``     GetPreferredAllocation, as vendors' plug-ins answer it
``process``        plug-ins that are there when a block begins, programs too
"""
