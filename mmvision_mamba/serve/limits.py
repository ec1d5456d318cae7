"""What one visitor may take of the machine."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds of a page.

    Attributes:
        upload_bytes: Of one uploaded file.
        pixels: Of one image, before it is decoded.
        stored_bytes: Of all uploaded files that are kept at a time.
        cached_bytes: Of all results that are kept for drawing again.
        queue: Visitors that may wait; one more is told to come back later.
        sessions: Visitors whose state is kept.
    """

    upload_bytes: int = 20_000_000
    pixels: int = 25_000_000
    stored_bytes: int = 2_000_000_000
    cached_bytes: int = 1_000_000_000
    queue: int = 20
    sessions: int = 500
