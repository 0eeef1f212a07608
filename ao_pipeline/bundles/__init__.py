"""Change bundles as pure values: row hashes, state hashes, change detection, payloads, seals, netting. No I/O."""
