"""The way to an API server: one reading of a kubeconfig, or of the pod's account.

    --kubeconfig ─ else KUBECONFIG ─ else ~/.kube/config ─ else the pod's account
         └──► the `kubernetes` package's configuration ──► TLS context, connections, headers

The package writes certificates and keys that a kubeconfig holds to files, and removes them when
the process ends, unless it is killed. Here they live in a folder that only we may open, and only
until the TLS context has read them.
"""

from __future__ import annotations

import logging
import os
import re
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from podwire_core.errors import FeedError
from podwire_core.family import is_loopback

if TYPE_CHECKING:
    from podwire_core.feed.transport import Patience

log = logging.getLogger(__name__)

HOME_KUBECONFIG = "~/.kube/config"

#: The package remembers, for all threads, which file holds which content.
_reading = threading.Lock()


@dataclass(frozen=True)
class Access:
    """One reading of the configuration, and the connections made by it.

    address: the server's URL. pool: urllib3's PoolManager.
    """

    address: str
    pool: Any
    _configuration: Any

    @classmethod
    def read(cls, kubeconfig: Path | None, address: str | None, patience: Patience) -> Access:
        """Read what there is now; address replaces the server's URL.

        Raises FeedError for a configuration that cannot be used.
        """
        path = _kubeconfig(kubeconfig)
        with _reading, _folder(path) as folder:
            configuration = _configuration(path, folder)
            # The package writes its own idea of the host back when it refreshes a token.
            url = str(address or configuration.host)
            _refuse_open_secrets(url, configuration)
            pool = _pool(configuration, url, patience)
            if folder and (refresh := configuration.refresh_api_key_hook):
                configuration.refresh_api_key_hook = _tidy(refresh, folder)
        return cls(url, pool, configuration)

    @property
    def verified(self) -> bool:
        """Whether the server has to prove who it is."""
        return bool(self._configuration.verify_ssl)

    def headers(self) -> dict[str, str]:
        """Asked anew for each request: tokens are rotated. Raises ValueError for one that is none.

        http.client would refuse that one too, and show it in its error.
        """
        secrets = _secrets(self._configuration)
        if not all(each.isascii() and each.isprintable() for each in secrets.values()):
            raise ValueError("the token holds characters that no token has: not sent")
        return {"Accept": "application/json", "User-Agent": "podwire"} | secrets


@contextmanager
def _folder(path: str | None) -> Iterator[str]:
    """Where secrets may lie for a moment: in memory, if we can. The pod's account needs none.

    Raises FeedError where nothing can be written, as under a read-only root.
    """
    if path is None:
        yield ""
        return
    memory = "/dev/shm"  # noqa: S108 - a folder of our own is made in it, 0700
    try:
        place = TemporaryDirectory(
            prefix=f"podwire-{os.getpid()}-", dir=memory if os.access(memory, os.W_OK) else None
        )
    except OSError as error:
        raise FeedError(f"{path}: no place for its keys: {error}") from error
    with place as folder:
        yield folder


def _configuration(path: str | None, folder: str) -> Any:
    """What the kubernetes package makes of the files there are. Raises FeedError."""
    from kubernetes import client, config  # noqa: PLC0415 - 20 MB that a folder does not need
    from kubernetes.config.config_exception import ConfigException  # noqa: PLC0415 - same

    made: Any = client.Configuration()
    source = f"{path}: " if path else f"no {HOME_KUBECONFIG}, and no pod's account: "
    lacks_token = False
    try:
        if path is None:
            config.load_incluster_config(made)  # type: ignore[no-untyped-call]  # it ships half its types
        else:
            config.load_kube_config(path, client_configuration=made, temp_file_path=folder)  # type: ignore[no-untyped-call]  # same
            lacks_token = not any(map(_sent, made.api_key.values())) and _has_token_file(path)
    except (ConfigException, OSError) as error:
        raise FeedError(f"no way to an API server: {source}{_without_values(error)}") from error
    except Exception as error:  # the package takes lists for objects, and raises whatever YAML does
        raise FeedError(f"no way to an API server: {source}is no kubeconfig") from error
    if lacks_token:  # as in the moment in which somebody writes it: we are not nobody
        raise FeedError(f"no way to an API server: {source}the file of its token is empty")
    return made


def _has_token_file(path: str) -> bool:
    """Whether the current user of a kubeconfig has a tokenFile."""
    from kubernetes.config.kube_config import (  # noqa: PLC0415 - see _configuration
        KubeConfigMerger,
    )

    merged: Any = KubeConfigMerger(path).config  # type: ignore[no-untyped-call]  # same
    context = merged["contexts"].get_with_name(merged["current-context"])["context"]
    found = merged["users"].get_with_name(context.safe_get("user"), safe=True)
    return found is not None and "tokenFile" in found["user"]


def _without_values(error: Exception) -> str:
    """What the package says; it shows whole entries of the file, keys and passwords too."""
    return re.sub(r"\{.*\}", "…", str(error), flags=re.DOTALL)


def _kubeconfig(given: Path | None) -> str | None:
    """Which file, or files with colons between them; None for the pod's account."""
    if given is not None:
        return str(given)
    home = Path(HOME_KUBECONFIG).expanduser()
    return os.environ.get("KUBECONFIG") or (str(home) if home.exists() else None)


def _tidy(refresh: Callable[[Any], None], folder: str) -> Callable[[Any], None]:
    """The package's hook, without the files that a login program's new key makes it write."""

    def refresh_and_remove(configuration: Any) -> None:
        with _reading:
            try:
                refresh(configuration)
            finally:
                rmtree(folder, ignore_errors=True)

    return refresh_and_remove


def _refuse_open_secrets(url: str, configuration: Any) -> None:
    """kubectl leaves a token off where it would be readable on its way; we say why."""
    parts = urlsplit(url)
    if parts.scheme == "https" or is_loopback(parts.hostname or ""):
        return
    if _secrets(configuration):
        raise FeedError(f"{url}: a token would be readable on its way: use https")


def _secrets(configuration: Any) -> dict[str, str]:
    """The headers that authorize a request."""
    rows = configuration.auth_settings().values()
    found = {row["key"]: _sent(row["value"]) for row in rows if row["in"] == "header"}
    return {key: value for key, value in found.items() if value}


def _sent(value: str | None) -> str:
    """A header's value as it is sent; nothing for one without a secret."""
    found = (value or "").strip()
    return "" if found == "Bearer" else found


def _pool(configuration: Any, url: str, patience: Patience) -> Any:
    from kubernetes.client.rest import RESTClientObject  # noqa: PLC0415 - see _configuration

    from podwire_core.feed.transport import use_our_connections  # noqa: PLC0415 - same

    context = _tls(configuration)
    configuration.retries = False  # the reflector decides when to try again
    configuration.connection_pool_maxsize = 16
    configuration.socket_options = patience.socket_options
    configuration.host = url  # decides on a proxy
    manager = RESTClientObject(configuration).pool_manager
    for name in ("ca_certs", "cert_file", "key_file", "ca_cert_data"):
        manager.connection_pool_kw.pop(name, None)
    manager.connection_pool_kw["ssl_context"] = context
    return use_our_connections(manager)


def _tls(configuration: Any) -> ssl.SSLContext:
    """All that the files say, so that no one needs them any more. Raises FeedError."""
    from urllib3.util.ssl_ import create_urllib3_context  # noqa: PLC0415 - see _configuration

    required = ssl.CERT_REQUIRED if configuration.verify_ssl else ssl.CERT_NONE
    context = create_urllib3_context(cert_reqs=required)
    try:
        if configuration.ssl_ca_cert:
            context.load_verify_locations(configuration.ssl_ca_cert)
        else:
            context.load_default_certs()
        if configuration.cert_file:
            context.load_cert_chain(configuration.cert_file, configuration.key_file)
    except OSError as error:  # ssl.SSLError is one
        raise FeedError(f"no way to an API server: its certificates: {error}") from error
    return context
