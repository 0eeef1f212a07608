"""An autonomous, self-healing Dagster pipeline over an agency's systems, with verified undo."""
