"""A stand-in process for supervisor tests: `stand_in.py FOLDER NAME PORT [mode...]`.

Serves HTTP 200 on a port (0: none), notes its pid in FOLDER/NAME.pids, and by its modes: has a child in a session of
its own (`child`), ignores SIGTERM (`stubborn`), exits at once (`crash`). After SIGUSR1 it runs on and answers no more.
"""

from __future__ import annotations

import http.server
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

is_deaf = threading.Event()


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers everything with 200."""

    def do_GET(self) -> None:
        while is_deaf.is_set():
            time.sleep(1)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Stay quiet."""


def main() -> None:
    """Behave as asked until killed."""
    folder, name, port, *modes = sys.argv[1:]
    with (Path(folder) / f"{name}.pids").open("a") as pids:
        pids.write(f"{os.getpid()}\n")
    if "crash" in modes:
        print("ERROR: I crash, token=abc https://u:hunter2@h.example/", flush=True)
        sys.exit(3)
    signal.signal(signal.SIGUSR1, lambda *_: is_deaf.set())
    if "stubborn" in modes:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "child" in modes:
        command = [
            sys.executable,
            __file__,
            folder,
            f"{name}-child",
            "0",
            *(["stubborn"] if "stubborn" in modes else []),
        ]
        subprocess.Popen(command, start_new_session=True)
    print(f"{name} runs", flush=True)
    if int(port):
        http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Handler).serve_forever()
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
