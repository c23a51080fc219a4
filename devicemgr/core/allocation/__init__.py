"""What a container gets, and why.

``plan``               which devices: the kubelet's decision, step by step
``container_options``  what plug-ins add to a container: merged, and checked
``explanation``        what was decided, as data and as text for ``explain``
"""
