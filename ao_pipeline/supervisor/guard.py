"""One supervisor for a data folder, on ports that are free."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from ao_pipeline.errors import ConfigError
from ao_pipeline.supervisor.specs import ProcessSpec


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold the data folder's lock; the kernel gives it back however this process ends.

    Raises:
        ConfigError: Another supervisor holds it. Nothing was started.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "supervisor.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            raise ConfigError(
                f"`ao up` already runs on {folder} (pid {holder}); stop it first, or set AO_DATA_DIR to another folder"
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def refuse_taken_ports(specs: Iterable[ProcessSpec]) -> None:
    """Check that every port can be listened on.

    Raises:
        ConfigError: One is taken; names every such port, its setting and who has it. Nothing was started.
    """
    problems = []
    for spec in specs:
        if not spec.port:
            continue
        family = socket.AF_INET6 if ":" in spec.host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind((spec.host, spec.port))
            except OSError as error:
                who = listener_on(spec.port)
                problems.append(
                    f"{spec.name}: port {spec.port} on {spec.host} is not free ({error.strerror}{who}); "
                    f"stop what listens there or set {spec.port_setting}"
                )
    if problems:
        raise ConfigError("\n".join(problems))


def listener_on(port: int) -> str:
    """Return who listens on a port as `, held by pid 1 (name)`; empty when that cannot be seen."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.Error:
        return ""
    for item in connections:
        if item.status == psutil.CONN_LISTEN and item.laddr and item.laddr.port == port and item.pid:
            try:
                return f", held by pid {item.pid} ({' '.join(psutil.Process(item.pid).cmdline())[:80]})"
            except psutil.Error:
                return f", held by pid {item.pid}"
    return ""
