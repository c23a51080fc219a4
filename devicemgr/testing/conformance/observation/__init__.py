"""What the plug-in and the manager have said and done.

``evidence``          the events of a check, and how they are shown
``recording_client``  the client of the checks, which records requests and responses
``history``           what has been said so far
``quiet_period``      a period in which nothing is done to the plug-in
``listening``         whether a server listens on a socket
``socket_names``      which socket names contain the time
``diagnosis``         what the plug-in did instead of what was expected of it
``conversation``      what was said while a check was run
"""
