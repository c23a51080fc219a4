"""Our own Admin API, ``devicemgr/v1``, from both ends.

``client``   calls a manager through its socket
``service``  what a manager serves there
``convert``  message ↔ value
``status``   the answer to Status, which lists every allocated device
"""
