"""The state as others see it; nothing here changes it.

``node_status``     capacity and allocatable, and whether a pod fits on them
``overview``        everything at a glance: devices by NUMA nodes, and the pods that hold them
``pod_status``      device health in a pod's status
``replay``          the state again, from recorded events
``missing_events``  how many events a trace does not have
``gauges``          sizes, for the metrics
``pod_resources``   who holds what, for monitoring agents
``task_tree``       the running tasks, each under its nursery, with what it waits for
``fitted_tree``     as much of it as a terminal has room for
``recorded_tree``   the tree from recorded events, as far as they say it
"""
