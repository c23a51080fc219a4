"""Our own API, ``devicemgr/v1``, from both ends.

``client``   a manager, seen through its socket
``service``  what is served there
``convert``  message ↔ value
``status``   the answer to Status, which has every device that is held
"""
