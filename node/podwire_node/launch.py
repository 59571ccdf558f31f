"""An agent, from its settings to its end: what `podwire agent` and `podwire proxy` share."""

from __future__ import annotations

import faulthandler
import logging
import os
from collections.abc import Iterable
from contextlib import closing

import click

from podwire_core.errors import FeedError, NftError
from podwire_core.nft.kernel import Kernel
from podwire_ebpf.errors import Unsupported
from podwire_node import sysctls
from podwire_node.agent import Agent
from podwire_node.cleanup.running import our_agents
from podwire_node.reports import logs
from podwire_node.settings.agent_config import AgentConfig
from podwire_node.sources import open_feed

log = logging.getLogger(__name__)


def set_up_logs(config: AgentConfig, warnings: Iterable[str]) -> None:
    """Log as the settings say, and what is odd about them first."""
    logs.set_up(config.log_format, config.log_level, config.node)
    for warning in warnings:
        log.warning("%s", warning)


def initialize(config: AgentConfig) -> None:
    """Set the kernel's parameters. Raises click's error, which names all that cannot be set."""
    problems = sysctls.initialize(config)
    if problems:
        raise click.ClickException("\n".join(problems))


def run(config: AgentConfig) -> None:
    """Run an agent until it is told to leave. Raises click's error, one sentence."""
    faulthandler.enable(2)  # stderr: a crash in a library says where we were
    sysctls.adjust_oom_score(config.oom_score_adj)
    for pid in our_agents():
        if pid != os.getpid():
            log.warning(
                "another agent (pid %d) runs in this network namespace: where both keep one "
                "table, each undoes the other's work; give each components of its own",
                pid,
            )
    try:
        feed, server = open_feed(config)
        with closing(feed):
            Agent(config, feed, Kernel(), server).run()
    except (FeedError, NftError, Unsupported) as error:
        raise click.ClickException(str(error)) from error
    except PermissionError as error:
        raise click.ClickException(f"{error.strerror}: run as root (CAP_NET_ADMIN)") from error
