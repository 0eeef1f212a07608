"""Vendor object to row, one function a table. A value that cannot fit raises `BadValueError`; nothing else is raised."""
