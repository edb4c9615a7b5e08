"""Problems of a DSN."""


class InvalidDSNError(ValueError):
    """A DSN that cannot be used; the message shows nothing of its password."""
