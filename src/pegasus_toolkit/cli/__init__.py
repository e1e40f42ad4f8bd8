"""The commands: one module each; the only place that reads arguments and the environment."""
