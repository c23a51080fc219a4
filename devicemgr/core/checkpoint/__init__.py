"""The checkpoint as text: who held what, across restarts.

``kubelet_format``  ``kubelet_internal_checkpoint``, byte for byte as the kubelet writes it
``own_section``     a section of our own, for what the kubelet learns elsewhere
``any_format``      reads the checkpoints of all versions of the kubelet
"""
