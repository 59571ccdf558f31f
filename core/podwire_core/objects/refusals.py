"""What msgspec says of a value that it refuses, in words for the one who wrote the value."""

from __future__ import annotations

import re
from enum import StrEnum

from podwire_core.objects.base import LABEL_PATTERN, NAME_PATTERN, Protocol
from podwire_core.objects.cluster_policy_spec import Action, Tier
from podwire_core.objects.policies import PolicyType
from podwire_core.selectors import Operator

#: An object's key that is no text is told of as "at `key` in" its object.
_AT = re.compile(r" - at (?:`key` in )?`\$\.?(?P<path>[^`]*)`$")
#: msgspec names a pattern by its repr(); a person wants to know what it stands for.
_PATTERNS = {
    repr(NAME_PATTERN): "is no object name: use letters, digits, -, _, . and :",
    repr(LABEL_PATTERN): "is no DNS label: use a-z, 0-9 and -",
}
#: msgspec does not say what an enumeration holds; the field's name says which one it is.
_CHOICES: dict[str, type[StrEnum]] = {
    "action": Action,
    "operator": Operator,
    "policyTypes": PolicyType,
    "protocol": Protocol,
    "tier": Tier,
}
_INDEX = re.compile(r"\[[^]]*\]$")
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
    choices = "" if own else _choices(path, reason)  # a struct's own check told them already
    return path, _PATTERNS.get(pattern, reason) + choices


def _choices(path: str, reason: str) -> str:
    """What may stand in a field that holds another word: "; use TCP, UDP or SCTP"."""
    field = _INDEX.sub("", path.rpartition(".")[2])
    if field not in _CHOICES or not reason.startswith("Invalid enum value"):
        return ""
    *words, last = _CHOICES[field]
    return f"; use {', '.join(words)} or {last}"
