"""What tasks are made of here, beside Trio.

``steps``               long work in steps, without await or clock
``turns``               such work as a task among others
``condition_variable``  something has changed, look again
``exception_groups``    one error of a group, where the caller cannot see the nursery
``trio_program``        whether this is a Trio program
``task_descriptions``   what a task waits for, in words, beside the function that waits
"""
