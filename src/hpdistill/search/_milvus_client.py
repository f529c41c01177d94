"""Connections to Milvus: to a cluster by its address, to Milvus Lite by a path."""

import logging
import os
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hpdistill.errors import HpdError, SearchError
from hpdistill.extras import extra

__all__ = ["TOKEN", "Connection", "connect", "copy_database", "is_lite"]

TOKEN = "HPD_MILVUS_TOKEN"  # noqa: S105 - the name of the variable that holds it
"""Environment variable with `user:password` or an API key: an index file must not hold one."""

_CONNECT_SECONDS = 5.0
_CALL_SECONDS = 120.0
_COPIES = 20
_DERIVED = ("LOCK", "indexes")
"""Of a database, what is not copied. Indexes are made of its vectors wherever they are missing, and
in the background, straight into the place where they are looked for: a copy may catch one half
written."""

_opened: Counter[str] = Counter()
"""How many connections of this process share the server of a Milvus Lite database."""
_opening = threading.Lock()


def is_lite(uri: str) -> bool:
    """Whether an address is a path, of a Milvus Lite database.

    Raises:
        SearchError: It is neither a path nor the address of a cluster.
    """
    if "://" not in uri:
        if not uri.endswith(".db"):
            raise SearchError(
                f"{uri} is no Milvus; allowed: a path that ends in .db, or http://host:port"
            )
        return True
    try:
        parts = urlsplit(uri)
        sound = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        sound = False
    if not sound:
        raise SearchError(
            f"{uri} is no Milvus; allowed: a path that ends in .db, or http://host:port"
        )
    if parts.username or parts.password:
        raise SearchError(
            f"the address of Milvus at {parts.hostname} holds a password, which would be saved "
            "with the index",
            hint=f"Put user:password into the environment variable {TOKEN}.",
        )
    return False


class Connection:
    """A client and what it takes to close it; made by `connect`."""

    def __init__(self, uri: str, client: Any) -> None:  # noqa: ANN401 - a MilvusClient
        self.uri = uri
        self._client = client
        self._closed = False

    def call(self, method: str, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401
        """Call a method of the client.

        Raises:
            SearchError: It fails, or the server does not answer; names the address.
        """
        if self._closed:
            raise SearchError(f"the connection to Milvus at {self.uri} is closed")
        with _told(self.uri):
            return getattr(self._client, method)(*arguments, timeout=_CALL_SECONDS, **options)

    def close(self) -> None:
        """Close it, and the server of a Milvus Lite database with the last of its connections."""
        if self._closed:
            return
        self._closed = True
        with suppress(Exception):  # a server that is gone needs no good-bye
            self._client.close()
        if not is_lite(self.uri):
            return
        with _opening:
            _opened[self.uri] -= 1
            if _opened[self.uri] == 0:
                _lite().release_server(self.uri)


def connect(uri: str) -> Connection:
    """Connect to a cluster, or open a Milvus Lite database, which is made if it is not there.

    Raises:
        SearchError: It cannot be reached or opened.
        PackageError: A package is not installed.
    """
    pymilvus = extra("pymilvus", "milvus")
    # It prints every failure with a traceback; here they are raised, in one line.
    for name in ("pymilvus", "milvus_lite"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    options: dict[str, Any] = {"timeout": _CONNECT_SECONDS, "token": os.environ.get(TOKEN, "")}
    if not is_lite(uri):
        with _told(uri, connecting=True):
            return Connection(uri, pymilvus.MilvusClient(uri, **options))
    uri = str(Path(uri).absolute())
    _lite()
    if not Path(uri).parent.is_dir():
        raise SearchError(f"cannot open {uri}: there is no directory {Path(uri).parent}")
    # Its server is in this process: a proxy for the world outside must not be asked.
    options["grpc_options"] = {"grpc.enable_http_proxy": 0}
    with _opening, _told(uri, connecting=True):
        client = pymilvus.MilvusClient(uri, **options)
        _opened[uri] += 1
    return Connection(uri, client)


def copy_database(source: Path, target: Path) -> None:
    """Copy a Milvus Lite database that nobody writes to, open or not.

    Files that are never changed become links where the system allows it.

    Raises:
        SearchError: It is missing, or rewritten all the time.
    """
    if not source.is_dir():
        raise SearchError(f"{source} is missing")
    for _ in range(_COPIES):
        before = _files(source)
        with suppress(FileNotFoundError, shutil.Error):
            shutil.copytree(
                source,
                target,
                copy_function=_link_or_copy,
                ignore=shutil.ignore_patterns(*_DERIVED),
            )
            # It merges its files in the background.
            if _files(source) == before:
                # A saved index may be read-only; its copy is written to.
                for place in (target, *target.rglob("*")):
                    if place.is_dir():
                        place.chmod(0o700)
                return
        shutil.rmtree(target, ignore_errors=True)
    raise SearchError(f"{source} changes all the time, so that it cannot be copied")


def _files(database: Path) -> dict[Path, tuple[int, int]]:
    found = {}
    for path in database.rglob("*"):
        if set(_DERIVED) & set(path.relative_to(database).parts):
            continue
        with suppress(FileNotFoundError):
            status = path.stat()
            found[path] = (status.st_size, status.st_mtime_ns)
    return found


def _link_or_copy(source: str, target: str) -> str:
    if source.endswith(".parquet"):
        with suppress(OSError):
            os.link(source, target)
            return target
    return str(shutil.copyfile(source, target))


@contextmanager
def _told(uri: str, *, connecting: bool = False) -> Iterator[None]:
    """Turn whatever Milvus and its transport raise into one line with the address."""
    try:
        yield
    except HpdError:
        raise
    # Errors of grpc and of protobuf come through pymilvus as they are.
    except Exception as error:
        lines = str(getattr(error, "message", None) or error).strip().splitlines()
        reason = lines[0] if lines else type(error).__name__
        if is_lite(uri) and connecting:
            raise SearchError(
                f"cannot open {uri} as a Milvus Lite database: {reason}",
                hint="Another process may have it open, or Milvus Lite 2 wrote it.",
            ) from error
        lost = any(word in str(error) for word in ("UNAVAILABLE", "DEADLINE", "Fail connecting"))
        if connecting or lost:
            raise SearchError(
                f"cannot reach Milvus at {uri}: {reason}",
                hint=f"Is it running there? A password goes into {TOKEN}.",
            ) from error
        raise SearchError(f"Milvus at {uri} refuses: {reason}") from error


def _lite() -> Any:  # noqa: ANN401 - its ServerManager
    return extra("milvus_lite", "milvus").server_manager_instance
