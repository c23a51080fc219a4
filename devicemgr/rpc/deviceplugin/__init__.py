"""The device plug-in API, ``v1beta1``, from both ends.

``methods``      the table of the API's methods, from which calls, deadlines, faults and options follow
``client``       the calls we make to a plug-in; and registering, as a plug-in does
``service``      Registration, as the manager serves it; DevicePlugin, as a plug-in does, for tests
``convert``      message ↔ value
``device_list``  the lists of one stream, each as the difference from the one before
``list_policy``  the interface of what limits a plug-in's lists
"""
