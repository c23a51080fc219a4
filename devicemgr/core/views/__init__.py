"""The state as others see it; nothing here changes it.

``node_status``    capacity and allocatable, and whether a pod fits on them
``overview``       everything at a glance: devices by NUMA nodes, and the pods that hold them
``pod_status``     device health in a pod's status
``replay``         the state again, from recorded events
``pod_resources``  who holds what, for monitoring agents
``recorded_tree``  the same from a recorded trace, as far as events tell
``task_tree``      the running tasks, each under its nursery, with what it waits for
"""
