"""Exported files to records, format by format. Pure: bytes and text come in, who opens files is elsewhere."""
