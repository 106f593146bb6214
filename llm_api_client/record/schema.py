"""The tables of a checkpoint file, and how a file of an earlier version comes to have them.

A file says that it is a checkpoint by its `application_id`, and how many of the migrations it has by its
`user_version`. A migration that was ever released is never changed: what follows is a new one.
"""

APPLICATION_ID = 0x4C4C4D43
"""How a checkpoint differs from the SQLite files of other programs ("LLMC")."""

PAGE_SIZE = 512
"""Bytes of a page in a new file. Answers run on over many, and leave less than one unused; in pages of their own size
every second byte would be."""

MIGRATIONS = (
    """
    CREATE TABLE claims (
        identity BLOB NOT NULL,
        occurrence INTEGER NOT NULL,
        model TEXT,
        prompt TEXT,
        claimed_at REAL NOT NULL,
        PRIMARY KEY (identity, occurrence)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE answers (
        id INTEGER PRIMARY KEY,
        identity BLOB NOT NULL,
        occurrence INTEGER NOT NULL,
        model TEXT,
        prompt TEXT,
        ended_at REAL NOT NULL,
        attempts INTEGER NOT NULL,
        latency REAL,
        cost REAL,
        prompt_tokens INTEGER,
        completion_tokens INTEGER,
        response_type TEXT NOT NULL,
        response TEXT NOT NULL,
        UNIQUE (identity, occurrence)
    ) STRICT;

    CREATE TABLE failures (
        id INTEGER PRIMARY KEY,
        identity BLOB NOT NULL,
        occurrence INTEGER NOT NULL,
        model TEXT,
        prompt TEXT,
        ended_at REAL NOT NULL,
        attempts INTEGER NOT NULL,
        latency REAL,
        cost REAL,
        prompt_tokens INTEGER,
        completion_tokens INTEGER,
        error_type TEXT NOT NULL,
        error TEXT NOT NULL,
        content TEXT,
        UNIQUE (identity, occurrence)
    ) STRICT;

    CREATE VIEW possibly_paid AS
        SELECT lower(hex(identity)) AS identity, occurrence, model, prompt,
            datetime(claimed_at, 'unixepoch', 'localtime') AS claimed_at
        FROM claims ORDER BY claims.claimed_at;
    """,
)
"""SQL scripts, each of which takes a file from the version before to the next."""
