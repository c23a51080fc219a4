"""Who may call, and how much.

``callers``        which users
``quotas``         what each process has taken of the manager's time
``socket_policy``  what a caller may do on one of our sockets
``plugin_policy``  what a plug-in may send over its connection
``control``        the policies of one manager, together
``reports``        the events about peers that reach a limit, at a limited rate
``rate_limit``     a bucket of tokens
"""
