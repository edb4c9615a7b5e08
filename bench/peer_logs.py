"""What the FastAPI peer logs, and its trace ids: a formatter on python-json-logger, a filter, a context variable.

This is how such a service is usually written. It is a copy on purpose: the peer must not change when the gateway's own
logging does, or the ratios would compare the gateway with itself.
"""

import logging
import re
import secrets
import socket
import sys
from contextvars import ContextVar
from datetime import UTC, datetime

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

HEADER = "X-Trace-ID"
METADATA_KEY = "x-trace-id"

_ACCEPTABLE = re.compile(r"[A-Za-z0-9._-]{1,64}")

trace_id: ContextVar[str] = ContextVar("trace_id", default="")
"""The trace id of the request that this task serves; empty outside a request."""


def resolve_trace_id(sent: str) -> str:
    """Return the client's own trace id when it is acceptable, otherwise a new one."""
    return sent if _ACCEPTABLE.fullmatch(sent) else secrets.token_hex(16)


def configure(service: str) -> None:
    """Send every log record to standard error, one JSON object a line."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JSONFormatter(service, socket.gethostname()))
    handler.addFilter(_add_trace_id)
    logging.basicConfig(level=logging.INFO, handlers=[handler])


class _JSONFormatter(JsonFormatter):
    def __init__(self, service: str, instance: str) -> None:
        super().__init__(
            ["asctime", "levelname", "name", "message"],
            rename_fields={
                "asctime": "time",
                "levelname": "level",
                "name": "logger",
                "exc_info": "exception",
                "stack_info": "stack",
            },
            static_fields={"service": service, "instance": instance},
            reserved_attrs=sorted({*RESERVED_ATTRS, "color_message", "taskName"}),
            json_ensure_ascii=True,
        )

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        created = datetime.fromtimestamp(record.created, UTC)
        return created.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _add_trace_id(record: logging.LogRecord) -> bool:
    record.trace_id = trace_id.get()
    return True
