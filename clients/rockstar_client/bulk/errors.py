"""Why a run cannot begin, go on or end."""


class BulkError(Exception):
    """A run that cannot go on; the message says how to mend it."""


class ResumeError(BulkError):
    """A cut off run that cannot be continued as it is asked for."""
