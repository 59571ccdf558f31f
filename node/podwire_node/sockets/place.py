"""Where the programs are: the settings' words, and what they leave open."""

from __future__ import annotations

from pathlib import Path

from podwire_ebpf.place import MOUNTS, Place, cgroup_root
from podwire_node.settings.agent_config import AgentConfig

_USUAL = Path("/sys/fs/cgroup")


def place_of(config: AgentConfig, mounts: Path = MOUNTS) -> Place:
    """The cgroup is cgroup2's root, where no other was named; the usual one, where none is."""
    cgroup = Path(config.ebpf_cgroup) if config.ebpf_cgroup else cgroup_root(mounts) or _USUAL
    return Place(cgroup, Path(config.ebpf_folder))
