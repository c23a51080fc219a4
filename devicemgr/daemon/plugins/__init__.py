"""Plug-ins: how they come in, and how they go.

``endpoints``        one task per registration: where a plug-in's failure stops
``handler``          what is different for each type of plug-in that the watcher finds
``watcher``          one task per socket that appears under plugins_registry
``directory_watch``  which sockets there are, and when that changes
"""
