"""The Device Manager's decisions, pure: no await, no clock, no file, no log, no gRPC.

Read in this order: ``endpoint`` (the life of one registration), ``report`` (what a plug-in's list is worth),
``store`` (who has which devices), ``allocation`` (which devices to take), ``run_options`` (what a container gets).

Time comes in as ``now``; what happened goes out as events.
"""
