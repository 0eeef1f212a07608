"""Vendor object to row, one function a table. What cannot fit raises `BadValueError`; nothing else is raised."""
