"""The Admin API, ``devicemgr/v1``, which is our own, from both ends.

``client``   a manager, seen through its socket
``service``  what is served there
``convert``  message ↔ value
``status``   the answer to Status, which lists every allocated device
"""
