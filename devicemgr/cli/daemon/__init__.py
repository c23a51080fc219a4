"""The daemon, which runs when there is no verb.

``run``      runs it
``options``  its options, from its settings
``systemd``  sd_notify(3)
"""
