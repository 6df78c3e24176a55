"""One JSON object a line on standard output, each with the id of the request it belongs to."""

import logging
import logging.config
from contextvars import ContextVar

from pythonjsonlogger.core import RESERVED_ATTRS

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)


class _WithRequestId(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if (current := request_id.get()) is not None:
            record.request_id = current
        return True


def configure(level: str) -> None:
    """Sends everything at or above `level`, uvicorn's lines included, to standard output."""
    # What no line shows need not be looked up for each.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "filters": {"request_id": {"()": _WithRequestId}},
            "formatters": {
                "json": {
                    "()": "pythonjsonlogger.msgspec.MsgspecFormatter",
                    "fmt": ["levelname", "name", "message"],
                    "rename_fields": {"levelname": "level", "name": "logger", "message": "event"},
                    "reserved_attrs": [*RESERVED_ATTRS, "color_message"],
                    "timestamp": "time",
                }
            },
            "handlers": {
                "stdout": {
                    "class": "logging.StreamHandler",
                    "stream": "ext://sys.stdout",
                    "formatter": "json",
                    "filters": ["request_id"],
                }
            },
            "root": {"level": level, "handlers": ["stdout"]},
            # uvicorn puts handlers of its own on these; its line a request would only repeat ours.
            "loggers": {
                "uvicorn": {"level": level, "handlers": [], "propagate": True},
                "uvicorn.error": {"level": level},
                "uvicorn.access": {"handlers": [], "propagate": False},
            },
        }
    )
