"""The engine: `journey` is one request's way, `batch` sends many on theirs, on the threads of `workers`."""
