"""The engine: `journey` is one request's way, `batch` sends many on theirs, `workers` are the threads, `progress` shows."""
