"""Injecting faults between a manager and its plug-ins.

``injection``  the pending faults, which calls consult
``actions``    the faults that tests and the verb ``fault`` inject
"""
