"""The terminal, or what there is in its place.

``standard_output``  one that is closed, full, or of another encoding
``columns``          how wide it is
``keys``             keys, as they are typed
``readers_pace``     the next step comes with a key
``signals``          which signals end our programs, and how a program runs until one comes
"""
