"""What a container gets, and why.

``plan``               which devices: the kubelet's decision, step by step
``container_options``  what comes with the devices of several resources together
``explanation``        what was decided, as data, and in words for ``explain``
"""
