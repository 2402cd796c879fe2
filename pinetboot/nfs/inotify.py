"""Whether this user may have one more inotify instance, without which rpc.mountd does not start.

Belongs here: trying it, which is the one answer that counts: the limit is for all processes of a user together.
"""

from __future__ import annotations

import ctypes
import errno
import os
from typing import Final

_libc: Final = ctypes.CDLL(None, use_errno=True)


def exhausted() -> bool:
    """Whether all instances are taken."""
    fd = _libc.inotify_init1(os.O_CLOEXEC)
    if fd < 0:
        return ctypes.get_errno() == errno.EMFILE
    os.close(fd)
    return False
