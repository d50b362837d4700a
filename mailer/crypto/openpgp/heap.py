"""Memory for a process that encrypts many messages."""

from __future__ import annotations

import ctypes

KEPT_OCTETS = 16 << 20
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # mallopt(3)


def keep_heap() -> None:
    """Let this process keep the memory that one message took for the next. Only glibc can; elsewhere nothing happens.

    Sequoia takes 8 MB for each message, however short, and returns them. glibc would give them back to the kernel and
    ask for them again: three system calls and 16 page faults, a tenth of what it takes to encrypt 40 KB.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for threshold in (_TRIM_THRESHOLD, _MMAP_THRESHOLD):
            mallopt(threshold, KEPT_OCTETS)
