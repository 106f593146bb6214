"""The tables of a cache's file, and how a file of an earlier version comes to have them.

As in `schema`: a file says by its `application_id` that it is a cache, and by its `user_version` how many of the
migrations it has. A migration that was ever released is never changed.
"""

APPLICATION_ID = 0x4C4C4D52
"""How a cache differs from the SQLite files of other programs, checkpoints among them ("LLMR")."""

MIGRATIONS = (
    (
        # `used` is not a time: it numbers the uses, of whatever process, so that the least recent has the least.
        """
        CREATE TABLE entries (
            identity BLOB NOT NULL UNIQUE,
            used INTEGER NOT NULL,
            kept_at REAL NOT NULL,
            size INTEGER NOT NULL,
            model TEXT,
            provider TEXT,
            created_at REAL NOT NULL,
            attempts INTEGER NOT NULL,
            latency REAL,
            cost REAL,
            prompt_tokens INTEGER,
            completion_tokens INTEGER,
            response_type TEXT NOT NULL,
            response TEXT NOT NULL
        ) STRICT
        """,
        "CREATE INDEX entries_by_use ON entries (used, size)",
        "CREATE INDEX entries_by_age ON entries (kept_at)",
        # Kept by the file itself: each process adds and takes away, and none could count anew at every answer.
        "CREATE TABLE totals (entries INTEGER NOT NULL, bytes INTEGER NOT NULL) STRICT",
        "INSERT INTO totals VALUES (0, 0)",
        """
        CREATE TRIGGER entry_comes AFTER INSERT ON entries
        BEGIN UPDATE totals SET entries = entries + 1, bytes = bytes + new.size; END
        """,
        """
        CREATE TRIGGER entry_goes AFTER DELETE ON entries
        BEGIN UPDATE totals SET entries = entries - 1, bytes = bytes - old.size; END
        """,
    ),
)
"""SQL statements, each group of which takes a file from the version before to the next."""
