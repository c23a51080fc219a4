"""The checkpoint as text: who held what, across restarts.

``kubelet_format``  ``kubelet_internal_checkpoint``, byte for byte as the kubelet writes it
``own_section``     what the kubelet learns from elsewhere, in a section of our own
``any_format``      the checkpoints of every kubelet there was, to be read
"""
