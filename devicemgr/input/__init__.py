"""Files that people hand in, and what is wrong in them: file, line and field.

``yaml_fields``  YAML whose values know their lines; nothing else imports yaml
``manifest``     pods, read from manifests
``pod_kinds``    the kinds of objects that are pods or make some
``node_config``  the kubelet's configuration, as people have it
``kubeconfig``   which API server a kubeconfig names, and who one is there
``trace_file``   a recorded trace, read again
"""
