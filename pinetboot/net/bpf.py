"""Programs for the kernel's socket filter (classic BPF: the kernel's Documentation/networking/filter.rst).

Belongs here: writing one down, with labels to jump to, and giving it to a socket. What is let through is decided by
whoever writes it.
"""

from __future__ import annotations

import socket
import struct
from array import array
from collections.abc import Sequence
from typing import Final, NamedTuple

_SO_ATTACH_FILTER: Final = 26  # socket(7)
_INSTRUCTION: Final = struct.Struct("=HBBI")
_PROGRAM: Final = struct.Struct("@HP")

LOAD_WORD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
LOAD_HALF: Final = 0x28  # BPF_LD | BPF_H | BPF_ABS
LOAD_BYTE: Final = 0x30  # BPF_LD | BPF_B | BPF_ABS
LOAD_HALF_BEHIND_X: Final = 0x48  # BPF_LD | BPF_H | BPF_IND
LOAD_HEADER_SIZE: Final = 0xB1  # BPF_LDX | BPF_B | BPF_MSH: X is four times the lower half of a byte
JUMP_IF_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
JUMP_IF_SET: Final = 0x45  # BPF_JMP | BPF_JSET | BPF_K
RETURN: Final = 0x06  # BPF_RET | BPF_K

# Where to load from beside the packet itself: what the kernel knows of it, its IP header, its link header.
ABOUT: Final = 0xFFFFF000  # SKF_AD_OFF
NETWORK: Final = 0xFFF00000  # SKF_NET_OFF
LINK: Final = 0xFFE00000  # SKF_LL_OFF
PROTOCOL, PACKET_TYPE, INTERFACE, HARDWARE, VLAN_TAGGED = 0, 4, 8, 28, 48  # SKF_AD_… behind ABOUT


class Op(NamedTuple):
    """One instruction. `then` and `otherwise` are labels that lie behind it, empty for the next one; so is `label`."""

    code: int
    operand: int
    then: str = ""
    otherwise: str = ""
    label: str = ""


def assembled(program: Sequence[Op]) -> bytes:
    """Write a program down. Raises ValueError for a jump that is too far, which a longer program needs."""
    places = {op.label: at for at, op in enumerate(program) if op.label}

    def distance(at: int, label: str) -> int:
        return places[label] - at - 1 if label else 0

    try:
        return b"".join(
            _INSTRUCTION.pack(op.code, distance(at, op.then), distance(at, op.otherwise), op.operand)
            for at, op in enumerate(program)
        )
    except struct.error:
        raise ValueError("a jump of more than 255 instructions") from None


def attach(sock: socket.socket, program: bytes) -> None:
    """Have a socket take in only what a program lets through. Raises OSError."""
    instructions = array("B", program)
    pointed = _PROGRAM.pack(len(program) // _INSTRUCTION.size, instructions.buffer_info()[0])
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, pointed)
