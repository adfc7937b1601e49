"""The form of a line in the log: with the id of its request, and without secrets, wherever they come from."""

import logging
import re
from collections.abc import Iterable

from mirubato.access.tokens import SHAPE
from mirubato.access.visits import current

_HIDDEN = "***"
# Anything that stands where credentials stand, whoever wrote it there.
_CREDENTIALS = re.compile(
    r"(?i)(\b(?:x-api-key|authorization|(?:set-)?cookie)['\"]?\s*[:=]\s*['\"]?(?:(?:bearer|basic)\s+)?)[^\s'\",;`<>]+"
    r"|(\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{16,}"
)
_URL_PASSWORD = re.compile(r"(://[^/\s:@]*:)[^/\s@]+(@)")
# Shorter ones would blot out words.
_SECRET_CHARS_MIN = 6


class Redactor:
    """Blots out secrets: those that it was told of, and what looks like one."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._known = sorted({one for one in secrets if len(one) >= _SECRET_CHARS_MIN}, key=len, reverse=True)

    def clean(self, text: str) -> str:
        """The text without them; of a token the id stays, which is no secret."""
        for secret in self._known:
            text = text.replace(secret, _HIDDEN)
        text = SHAPE.sub(rf"mirubato_\1_{_HIDDEN}", text)
        text = _CREDENTIALS.sub(_without_value, text)
        return _URL_PASSWORD.sub(rf"\1{_HIDDEN}\2", text)


def _without_value(found: re.Match[str]) -> str:
    """What stands before a credential, and of a token its id."""
    before = found[1] or found[2]
    value = found[0][len(before) :]
    return before + (value if value.startswith("mirubato_") else _HIDDEN)


class CleanFormatter(logging.Formatter):
    """Formats as its parent does, adds the id of the request, and cleans the whole, tracebacks too."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        """One record as text."""
        text = super().format(record)
        visit = current()
        if visit is not None:
            line, newline, rest = text.partition("\n")
            text = f"{line} [request {visit.request_id}]{newline}{rest}"
        return self._redactor.clean(text)


def install(secrets: Iterable[str]) -> Redactor:
    """Give all handlers of the root logger this form; answers what cleans it."""
    redactor = Redactor(secrets)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(CleanFormatter(redactor))
    return redactor
