"""Objects that follow from the settings: this machine's network, and the masters."""

from __future__ import annotations

from config import Config
from connection.dial import Target
from connection.protocol import EIO
from connection.proxies import exposure
from failover.node import Node
from logging_setup import EventLogger, NoLog
from network.base import Network, NetworkError


def targets_of(config: Config) -> tuple[Target, ...]:
    """The masters in their order, with what is sent to each when connecting."""
    auth = {"token": config.master_token, "NODE_ID": config.node_id} if config.master_token else None
    return tuple(Target(url, auth, config.master_ca_file) for url in config.masters)


def warnings_of(config: Config) -> tuple[str, ...]:
    """Warnings about the settings, and about what the installed libraries make of them."""
    if EIO == 3 and config.master_token:
        text = (
            "MASTER_TOKEN is not sent, since Engine.IO v3 has no place for it: a master that asks for it will refuse this "
            "node; unset it, or upgrade the master and install requirements.txt"
        )
        return (*config.warnings, text)
    return config.warnings


def insecure_masters(config: Config) -> tuple[tuple[str, str], ...]:
    """The masters to which what is said can be read on the way, each with the reason."""
    return tuple((url, reason) for url in config.masters if (reason := exposure(url)))


def log_warnings(config: Config, log: EventLogger) -> None:
    """Log what is doubtful about the settings."""
    for text in warnings_of(config):
        log.warning("setting", text=text)
    token = "MASTER_TOKEN travels in the clear" if config.master_token else None
    for master, reason in insecure_masters(config):
        log.warning("insecure_master", master=master, reason=reason, token=token)


def own_mac(config: Config, network: Network) -> str | None:
    """The MAC of the interface that the node's own address is on, as far as it is known without a master."""
    node = Node(config, network, NoLog())
    try:
        node.find(None)
    except NetworkError:
        return None
    return node.mac
