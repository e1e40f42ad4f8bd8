"""The worker as one file: a zip that Python runs, with our code and the compiled libraries that it needs."""
