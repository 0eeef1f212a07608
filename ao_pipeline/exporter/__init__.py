"""The exporter: a process of its own that answers /metrics, /health, /ready and /snapshot from stored state.

It is right after a restart, while a run is dead and while the webserver is down, because it remembers nothing.
"""
