"""The engine simulated: its own code, with time, chance and threads held by a seed (docs/testing.md)."""
