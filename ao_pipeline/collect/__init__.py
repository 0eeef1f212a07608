"""From an upstream's answer to raw rows: contracts, parsers, cadence, quarantine and volume rules. Pure."""
