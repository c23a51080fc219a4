"""What several verbs share.

``ask``             calls to a running manager
``output``          JSON shapes, and tables of them
``in_place``        a picture that is drawn again and again in the same place
``event_filter``    which events are shown
``trace_input``     a trace that is named on the command line
``input_file``      a file named on the command line, or standard input
``atomic_files``    a file that is written whole or not at all
``group``           a command with verbs below it
``parameters``      the arguments and options that several verbs have, and their types
``process_limits``  how many files may be open, and when there is no room for a thread
"""
