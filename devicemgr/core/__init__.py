"""The Device Manager's decisions, pure: no await, no clock, no file, no log, no gRPC.

Read in this order: ``endpoint`` (the life of one registration), ``report`` (what a plug-in's list is worth),
``resource`` and ``holdings`` (what there is, and who has it) with ``store`` (both together), ``allocation`` (which
devices to take), ``run_options`` (what a container gets).

Then, each by itself: ``numa``, ``hints``, ``merge``, ``policy`` (the Topology Manager); ``checkpoint``,
``node_state`` (what is written down); ``node_status``, ``pod_status``, ``pod_resources`` (what others are told);
``decision`` (why).

Time comes in as ``now``; what happened goes out as events.
"""
