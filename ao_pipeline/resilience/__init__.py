"""Rules of staying alive: staleness, catch-up, what a cycle's outcome is. Pure; they know nothing of the domain."""
