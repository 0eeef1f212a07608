"""The state store: the only SQL of the project, and the only way to write a managed table."""
