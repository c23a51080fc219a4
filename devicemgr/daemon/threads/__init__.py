"""The manager for programs that do not use Trio.

``portal``    a Trio program in a thread of its own
``blocking``  a manager whose methods are called without ``await``
"""
