"""Prism, a judge that others wrote: a proxy that refuses requests and answers that a vendor's description does not allow."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ao_pipeline.settings import PROJECT_DIR

PACKAGE = "@stoplight/prism-cli@5.14.2"
FOLDER = PROJECT_DIR / "build" / "prism"
PROGRAM = FOLDER / "node_modules" / ".bin" / "prism"
INSTALL_SECONDS = 120
"""On a warm npm cache it takes fourteen seconds."""


def why_absent() -> str:
    """Install Prism where it is missing; return why there is none, empty when there is one."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return "node and npm are not on this machine"
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if PROGRAM.exists():
            return ""
        command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(FOLDER), PACKAGE]
        try:
            done = subprocess.run(command, cwd=FOLDER, capture_output=True, timeout=INSTALL_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            return f"npm did not install {PACKAGE} within {INSTALL_SECONDS} s"
        return "" if done.returncode == 0 and PROGRAM.exists() else f"npm cannot install {PACKAGE} ({done.returncode})"


@contextmanager
def judge(document: Path, upstream: str) -> Iterator[str]:
    """Run a proxy in front of an upstream; yield its address. A violation on either side becomes an error answer."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [str(PROGRAM), "proxy", "--errors", "-h", "127.0.0.1", "-p", str(port), "-v", "info", str(document), upstream],
        env={**os.environ, "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout is not None
    try:
        said = b""
        for line in process.stdout:
            said += line
            if b"Prism is listening" in line:
                break
        else:
            raise ChildProcessError(f"prism did not start: {said.decode('utf-8', 'replace')[-2000:]}")
        with _drained(process):
            yield f"http://127.0.0.1:{port}"
    finally:
        process.stdout.close()


@contextmanager
def _drained(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Read what the process says, so that it never waits for a full pipe; end it at the end."""
    import threading

    reader = threading.Thread(target=lambda: process.stdout.read() if process.stdout else None, daemon=True)
    reader.start()
    try:
        yield
    finally:
        process.terminate()
        process.wait(10)
        reader.join(5)
