"""One module for each section: its docstring says what it measures and why, `run` does it."""
