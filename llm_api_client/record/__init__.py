"""What is kept: the history in memory, the checkpoint on disk, and the forms that both are read and written in."""
