"""Reading from an open boot file, and noticing that it is not the file any more that it was.

Belongs here: reads that never wait, and reads that may. Files are read, never mapped: one that a Pi truncates over NFS
would end the process with SIGBUS.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

from pinetboot.boot.resolver import BootFile

_NOT_NOW = {errno.EAGAIN, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS}


class ContentChanged(Exception):
    """The file was written to while it was being sent: going on would mix two contents."""


def read_now(file: BootFile, into: Sequence[memoryview], offset: int) -> int:
    """Fill buffers from the page cache alone; returns how many bytes there were, 0 where a disk must be waited for.

    Raises OSError from the storage.
    """
    try:
        return os.preadv(file.fd, into, offset, os.RWF_NOWAIT)
    except OSError as error:
        if error.errno in _NOT_NOW:
            return 0
        raise


def read_exactly(file: BootFile, offset: int, size: int) -> bytes:
    """Read `size` bytes at `offset`, waiting as long as it takes.

    Raises ContentChanged when the file ends before, or OSError from the storage.
    """
    parts = []
    while size:
        part = os.pread(file.fd, size, offset)
        if not part:
            raise ContentChanged
        parts.append(part)
        offset += len(part)
        size -= len(part)
    return b"".join(parts)
