"""What a section is told."""

import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """From the command line.

    Attributes:
        rounds: How often everything is repeated; None leaves it to the section.
        minutes: Length of the long runs; None leaves it to the section.
    """

    rounds: int | None = None
    minutes: float | None = None

    def log(self, text: str) -> None:
        """Say what is going on."""
        print(text, file=sys.stderr, flush=True)
