"""The way in for programs that are not Trio's.

``portal``    a Trio program in a thread of its own
``blocking``  a manager whose methods are called without ``await``
"""
