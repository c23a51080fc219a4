"""Plug-ins: how they register, serve, and end.

``endpoints``        one task per registration, which contains the plug-in's failures
``handler``          what is different for each type of plug-in that the watcher finds
``watcher``          one task per socket that appears under plugins_registry
``directory_watch``  which sockets there are in a directory, and when that changes
"""
