"""Log lines: one JSON object a line, or plain text on a terminal.

Whatever a client sends stays inside the line it is logged in: JSON is written in ASCII, and text has its control
characters escaped, so that neither a line break nor a terminal's escape sequence gets through.
"""

import json
import logging
import socket
import sys
import threading
from datetime import UTC, datetime
from functools import lru_cache, partial
from types import TracebackType
from typing import Literal

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

from service_kit.telemetry.context import current
from service_kit.telemetry.stderr import StderrHandler

LIFECYCLE = "lifecycle"
"""The logger of a process's few lines about itself, such as the ports it listens on: tools read them, so that no level
hides them."""

_NOT_FIELDS = frozenset(RESERVED_ATTRS) | {"color_message", "taskName"}
"""Attributes of a record that are no fields of their own: the logging module's, and uvicorn's coloured message."""


dumps = partial(json.dumps, ensure_ascii=True, separators=(",", ":"))
"""JSON in ASCII, on one line."""


def configure(
    service: str, *, level: str = "INFO", style: Literal["auto", "json", "text"] = "auto", instance: str = ""
) -> None:
    """Send every log record, warning and uncaught exception of this process to standard error.

    Args:
        service: the name that each line carries.
        level: the lowest level that is written.
        style: `auto` is text on a terminal and JSON elsewhere.
        instance: which of the service's processes this is, such as its address; the host's name when not given.
    """
    text = style == "text" or (style == "auto" and sys.stderr.isatty())
    handler = StderrHandler(sys.stderr.fileno())
    handler.setFormatter(TextFormatter(service) if text else JSONFormatter(service, instance or socket.gethostname()))
    handler.addFilter(_add_trace)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.getLogger(LIFECYCLE).setLevel(logging.INFO)
    logging.captureWarnings(capture=True)
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread


class JSONFormatter(JsonFormatter):
    """One JSON object a line: time, level, logger, message, service, instance, trace_id, then the record's extras.

    `span_id` is there inside a span only, `exception` (the traceback) and `stack` when the record has one.
    """

    def __init__(self, service: str, instance: str) -> None:
        self.static = {"service": service, "instance": instance}
        super().__init__(
            ["asctime", "levelname", "name", "message"],
            rename_fields={
                "asctime": "time",
                "levelname": "level",
                "name": "logger",
                "exc_info": "exception",
                "stack_info": "stack",
            },
            static_fields=self.static,
            reserved_attrs=sorted(_NOT_FIELDS),
            json_serializer=dumps,
        )

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802
        """Return the record's time as RFC 3339 UTC with milliseconds."""
        return timestamp(record.created)


class TextFormatter(logging.Formatter):
    """Plain text for a person: time (UTC), level, service, message, then the record's extras as `name=value`.

    A traceback follows on lines of its own, each indented.
    """

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as text, its control characters escaped."""
        parts = [f"{timestamp(record.created)[11:19]} {record.levelname:<7} {self._service}", record.getMessage()]
        parts += [f"{name}={value}" for name, value in vars(record).items() if name not in _NOT_FIELDS and value != ""]
        lines = [_visible(" ".join(parts))]
        if record.exc_info:
            lines += ["    " + _visible(line) for line in self.formatException(record.exc_info).split("\n")]
        if record.stack_info:
            lines += ["    " + _visible(line) for line in record.stack_info.split("\n")]
        return "\n".join(lines)


def timestamp(seconds: float) -> str:
    """Return a Unix time as RFC 3339 in UTC with milliseconds."""
    return _timestamp(int(seconds * 1000))


@lru_cache(maxsize=1)  # under load many lines are of the same millisecond
def _timestamp(milliseconds: int) -> str:
    time = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _visible(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def _add_trace(record: logging.LogRecord) -> bool:
    if not hasattr(record, "trace_id"):
        record.trace_id = current.get().trace_id
    if not hasattr(record, "span_id") and (span_id := current.get().span.id):
        record.span_id = span_id
    return True


def _log_uncaught(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, where)
    else:
        logging.getLogger("uncaught").critical("uncaught exception", exc_info=(kind, error, where))


def _log_uncaught_in_thread(uncaught: threading.ExceptHookArgs) -> None:
    if uncaught.exc_value is not None:
        logging.getLogger("uncaught").critical(
            "uncaught exception in a thread",
            exc_info=(uncaught.exc_type, uncaught.exc_value, uncaught.exc_traceback),
            extra={"thread_name": uncaught.thread.name if uncaught.thread else ""},
        )
