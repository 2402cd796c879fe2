"""Putting a folder in another's place, so that the name never names nothing.

Belongs here: the renameat2 call (Linux 3.15; Python has no wrapper), and what is done where a file system lacks it.
"""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path
from typing import Final

_AT_FDCWD: Final = -100
_RENAME_EXCHANGE: Final = 2
_LACKING: Final = {errno.EINVAL, errno.ENOSYS, errno.EPERM, errno.EOPNOTSUPP}

_libc: Final = ctypes.CDLL(None, use_errno=True)


def exchange(new: Path, old: Path) -> bool:
    """Let two folders change places in one step; False where this file system or C library cannot. Raises OSError."""
    call = getattr(_libc, "renameat2", None)
    if call is None:
        return False
    if call(_AT_FDCWD, os.fsencode(new), _AT_FDCWD, os.fsencode(old), ctypes.c_uint(_RENAME_EXCHANGE)) == 0:
        return True
    number = ctypes.get_errno()
    if number in _LACKING:
        return False
    raise OSError(number, os.strerror(number), str(new), None, str(old))
