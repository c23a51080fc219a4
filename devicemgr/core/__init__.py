"""The Device Manager's decisions, pure: no await, no clock, no file, no log, no gRPC.

Time comes in as ``now``; what happened goes out as events. Read in this order:

``devices/``     the state: what plug-ins have reported, and who holds what
``allocation/``  which devices a container gets, what comes with them, and why
``topology/``    the Topology Manager: on which NUMA nodes a pod's devices should be
``checkpoint/``  the state as text, byte for byte as the kubelet writes it
``views/``       the state as others see it: the node's status, the pods', PodResources

and for those who watch:

``conversation/``  the events, told as a conversation of plug-ins, manager and callers
"""
