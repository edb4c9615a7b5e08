"""Log lines: one JSON object a line, or plain text on a terminal."""

import logging
import logging.config
import sys
from typing import Literal

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

from telemetry import trace


def configure(
    service: str, *, level: str = "INFO", style: Literal["auto", "json", "text"] = "auto", instance: str = ""
) -> None:
    """Send every log record of this process to standard error, under `service` and `instance`."""
    handler = logging.StreamHandler(sys.stderr)
    text = style == "text" or (style == "auto" and sys.stderr.isatty())
    handler.setFormatter(_TextFormatter(service) if text else _json_formatter(service, instance))
    handler.addFilter(_add_trace_id)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.captureWarnings(capture=True)


def _add_trace_id(record: logging.LogRecord) -> bool:
    if not hasattr(record, "trace_id"):
        record.trace_id = trace.current.get()
    return True


def _json_formatter(service: str, instance: str) -> logging.Formatter:
    return JsonFormatter(
        "{asctime}{levelname}{name}{message}",
        style="{",
        datefmt="%Y-%m-%dT%H:%M:%S%z",
        rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
        static_fields={"service": service, "instance": instance},
        reserved_attrs=[*RESERVED_ATTRS, "color_message"],
        json_ensure_ascii=False,
    )


class _TextFormatter(logging.Formatter):
    """Plain text for a person: the record's extra fields follow the message."""

    _known = frozenset(RESERVED_ATTRS) | {"color_message", "message", "asctime"}

    def __init__(self, service: str) -> None:
        super().__init__("{asctime} {levelname:<7} " + service + " {message}", "%H:%M:%S", style="{")

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        extra = " ".join(
            f"{key}={value}" for key, value in vars(record).items() if key not in self._known and value != ""
        )
        return f"{line} {extra}" if extra else line
