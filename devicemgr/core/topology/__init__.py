"""The Topology Manager's decisions (TM-1 to TM-16). Read in this order:

``policy``       what is configured: policy, scope and options
``numa``         NUMA nodes as sets of bits, and their distances
``hints``        on which nodes one resource could satisfy a request
``merge``        one affinity out of the hints of all resources
``alignment``    which affinity is good enough for a pod to run
``node_search``  which nodes are enough, found without looking at every set of them
"""
