"""What is kept of a run: the history in memory, and batch files."""
