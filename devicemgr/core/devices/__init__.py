"""The state: devices as plug-ins report them, and who holds them. Read in this order:

``endpoint``      the life of one registration of a plug-in
``report``        a plug-in's list, normalised, and how it differs from the one before
``last_list``     the last list of one plug-in, split into healthy and unhealthy devices
``resource``      one resource: who serves and who stands by, and the list that is in force
``free_devices``  the free devices of one resource, by NUMA node, kept in order
``pod_devices``   admitted pods, their containers' assignments, and reservations
``store``         all of the state; each change returns the events it caused
``contention``    plug-ins that take one resource from each other again and again
"""
