"""How a request's task learns that its client closed the connection."""

import asyncio

_MESSAGE = "the client closed the connection"


def cancel(task: asyncio.Task[None]) -> None:
    """Cancel the task of a request whose client closed the connection."""
    task.cancel(_MESSAGE)


def is_hang_up(error: BaseException) -> bool:
    """Tell whether `error` is a cancellation by `cancel`, and not one at shutdown."""
    return isinstance(error, asyncio.CancelledError) and error.args == (_MESSAGE,)
