"""How a request's task learns that its client closed the connection."""

import asyncio
from weakref import WeakSet

_cancelled: WeakSet[asyncio.Task[None]] = WeakSet()


def cancel(task: asyncio.Task[None]) -> None:
    """Cancel the task of a request whose client closed the connection."""
    _cancelled.add(task)
    task.cancel()


def happened() -> bool:
    """Return whether the client of the current task's request closed the connection.

    Whatever the task raises then comes of that: a cancelled gRPC call may end in a CancelledError of its own or in an
    RPC error.
    """
    return asyncio.current_task() in _cancelled
