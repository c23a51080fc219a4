"""``check``: runs the conformance checks against a plug-in.

``verb``         the verb and its options
``config``       its options from a file
``run``          one run of the checks
``progress``     what is shown while it runs
``report``       what is shown at the end
``github``       annotations and a summary for GitHub Actions
``last_failed``  the checks that failed the last time
"""

from .verb import command

__all__ = ["command"]
