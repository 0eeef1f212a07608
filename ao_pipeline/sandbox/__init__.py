"""A simulated agency behind five vendors' APIs, over real HTTP on loopback. It imports no collector and no adapter."""
