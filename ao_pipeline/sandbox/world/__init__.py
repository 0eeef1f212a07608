"""The simulated agency: a pure function of seed, size, anchor day and instant. No HTTP, no clock, no files."""
