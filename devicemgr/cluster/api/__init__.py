"""The border to an API server.

``client``        the little of a Kubernetes client that is needed here: objects as JSON
``connection``    what has to be known of an API server, and who we are to it
``http``          requests and streams over httpx2, whose failures become two of ours
``answers``       what an API server answers, as values
``retries``       after which failure a request is made again, and when
``reachability``  whether the API server answers: an outage is one change of state
``reflector``     list, watch, list again: all objects of a collection, and each change
``watch_events``  the bytes of a watch, as events
"""
