"""What msgspec says of a value that it refuses, in words for the one who wrote the value."""

from __future__ import annotations

import re

from podwire_core.objects.base import LABEL_PATTERN, NAME_PATTERN

#: An object's key that is no text is told of as "at `key` in" its object.
_AT = re.compile(r" - at (?:`key` in )?`\$\.?(?P<path>[^`]*)`$")
#: msgspec names a pattern by its repr(); a person wants to know what it stands for.
_PATTERNS = {
    repr(NAME_PATTERN): "is no object name: use letters, digits, -, _, . and :",
    repr(LABEL_PATTERN): "is no DNS label: use a-z, 0-9 and -",
}
_QUOTED_FIELD = re.compile(r"^`(?P<field>[\w.\[\]]+)`: ")


def explain(message: str) -> tuple[str, str]:
    """msgspec's sentence taken apart: ("spec.ports[0].port", "Expected `int` >= 1").

    A struct's own check begins with the field in back quotes; that field joins the path.
    """
    at = _AT.search(message)
    path, reason = (at["path"], message[: at.start()]) if at else ("", message)
    own = _QUOTED_FIELD.match(reason)
    if own:
        path = f"{path}.{own['field']}".lstrip(".")
        reason = reason[own.end() :]
    pattern = reason.removeprefix("Expected `str` matching regex ")
    return path, _PATTERNS.get(pattern, reason)
