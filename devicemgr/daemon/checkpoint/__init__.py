"""The state on disk: read once at the start, written by one task.

``writer``         when it is written, and what is read at the start
``durable_file``   a file in generations: written whole, the good one before it kept
``loss_detector``  is what was written still there?
"""
