"""The state on disk: read once at the start, written by one task.

``writer``         when it is written, and what is read at the start
``durable_file``   a file that is written whole, and keeps its previous generation
``loss_detector``  notices files that were deleted or replaced
"""
