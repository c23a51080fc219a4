"""The PodResources API, which says which pod uses which device, from both ends.

``service``  as the manager serves it
``client``   reads it from any kubelet
``answers``  what a kubelet says there, as values
"""
