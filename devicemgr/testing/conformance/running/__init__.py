"""Running checks.

``runner``    in order, each after those that it needs
``attempt``   one of them, on a plug-in that may exit meanwhile
``parallel``  on other instances, while the first one is watched
``observer``  what follows a run
"""
