"""What is wrong with a DSN."""


class InvalidDSNError(ValueError):
    """A DSN that cannot be used; the sentence shows nothing of its password."""
