"""From operations to outcomes: what is moved when, by which route, and what is done about errors."""
