"""Faults on purpose, between a manager and its plug-ins.

``injection``  what calls consult; empty in real life
``actions``    what a test uses, and ``fault``
"""
