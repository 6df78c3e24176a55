"""Events, a line each on standard output, with the request that they belong to.

`logging.json` beside this is the configuration, so that uvicorn's supervisor of workers can be told to follow it too.
"""

import json
import logging
import logging.config
import sys
from contextvars import ContextVar
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import msgspec
from pythonjsonlogger.core import RESERVED_ATTRS, LogData, merge_record_extra
from pythonjsonlogger.msgspec import MsgspecFormatter

CONFIGURATION = Path(__file__).with_name("logging.json")
_OURS_TO_PLACE = {*RESERVED_ATTRS, "color_message"}  # uvicorn's message once more, with colours

request: ContextVar[dict[str, str | None] | None] = ContextVar("request", default=None)
"""Members that each line of a request has."""


class OfRequest(logging.Filter):
    """Adds the members of the current request to a line."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.__dict__.update(request.get() or {})
        return True


class Json(MsgspecFormatter):
    """One JSON object a line."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, reserved_attrs=[*_OURS_TO_PLACE], **options)

    def jsonify_log_record(self, log_data: LogData) -> str:
        try:
            return printable(super().jsonify_log_record(log_data))
        except UnicodeEncodeError:
            log_data = {name: _in_unicode(value) for name, value in log_data.items()}
            return printable(super().jsonify_log_record(log_data))


class Console(logging.Formatter):
    """For people: time of day, level, event, then name=value; further lines are indented, and so none can be forged."""

    def format(self, record: logging.LogRecord) -> str:
        fields = merge_record_extra(record, {}, reserved=_OURS_TO_PLACE)
        words = [f"{self.formatTime(record, '%H:%M:%S')} {record.levelname:8} {printable(record.getMessage())}"]
        words += [f"{name}={_value(value)}" for name, value in fields.items() if value is not None]
        trace = self.formatException(record.exc_info).splitlines() if record.exc_info else []
        return "\n    ".join([" ".join(words), *map(printable, trace)])


def configure(level: str, layout: str) -> None:
    """Writes everything at or above `level`, uvicorn's lines included, as `json` or for a `console`."""
    # What no line shows need not be looked up for each.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    configuration = json.loads(CONFIGURATION.read_text("utf-8"))
    configuration["handlers"]["stdout"] |= {"formatter": layout, "level": level}
    levels = dict.fromkeys(("uvicorn", "uvicorn.error"), level)
    # What is not printed may be counted; but for the line a request, which would cost more than it.
    levels |= {"service": "DEBUG" if level == "DEBUG" else "INFO", "service.web.middleware": level}
    for name, least in levels.items():
        configuration["loggers"].setdefault(name, {})["level"] = least
    configuration["root"]["level"] = level
    if isinstance(sys.stdout, TextIOWrapper):  # a locale may have no letters for the names of others
        sys.stdout.reconfigure(encoding="utf-8")
    logging.config.dictConfig(configuration)


def _value(value: object) -> str:
    is_plain = isinstance(value, str) and value and not set(value) & set(' "=')
    return printable(str(value) if is_plain else msgspec.json.encode(_in_unicode(value), enc_hook=str).decode())


def _in_unicode(value: object) -> object:
    """Without halves of surrogate pairs, which no encoding has; the name of a file in another one than ours has."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def printable(text: str) -> str:
    """Without what a terminal obeys or a reader can't see: control characters, and those that turn text around."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in text)
