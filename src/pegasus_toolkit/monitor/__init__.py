"""What a run did and does, from its logs: one SQLite database, and what is told from it."""
