"""One row of the settings: what it is called in each source, what it may be, what it is for."""

from __future__ import annotations

import re
from dataclasses import dataclass

import msgspec

from podwire_node.settings.agent_config import AgentConfig
from podwire_node.settings.values import Reader

_DEFAULTS = {row.name: row.default for row in msgspec.structs.fields(AgentConfig)}


@dataclass(frozen=True)
class Setting:
    """One row: its key, how it is read, what it may be and what it is for."""

    key: str
    read: Reader
    allowed: str
    purpose: str
    group: str
    metavar: str = "TEXT"
    also: tuple[str, ...] = ()  # further environment variables

    @property
    def words(self) -> str:
        """vxlanPort → vxlan_port: the field of AgentConfig."""
        return re.sub(r"([A-Z])", lambda match: f"_{match[1].lower()}", self.key)

    @property
    def flag(self) -> str:
        """vxlanPort → --vxlan-port."""
        return f"--{self.words.replace('_', '-')}"

    @property
    def variables(self) -> tuple[str, ...]:
        """vxlanPort → PODWIRE_VXLAN_PORT, and what else is read; the first that is set counts."""
        return (f"PODWIRE_{self.words.upper()}", *self.also)

    @property
    def default(self) -> object:
        """The value where no one gave one; msgspec.NODEFAULT where someone has to."""
        return _DEFAULTS[self.words]
