"""The state: devices as plug-ins report them, and who holds them. Read in this order:

``endpoint``      the life of one registration of a plug-in
``report``        a plug-in's list, normalised, and how it differs from the one before
``resource``      one resource: its endpoint, and its healthy and unhealthy devices
``free_devices``  the free devices of one resource, by NUMA node, kept in order
``pod_devices``   admitted pods, their containers' assignments, and reservations
``store``         all of the state; each change returns the events it caused
``contention``    plug-ins that take one resource from each other again and again
"""
