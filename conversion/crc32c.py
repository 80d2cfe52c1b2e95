# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""CRC-32C (Castagnoli) at the speed of memory, in NumPy: the checksum in TensorFlow's checkpoints.

A CRC is the remainder of the message, read as a polynomial over GF(2), modulo a fixed polynomial P. Adding a multiple
of P to the message leaves the remainder as it is, and P has the sparse multiple

    x^6777 + x^484 + x^100 + 1

so a bit may be cleared if the bits 6293, 6677 and 6777 places further on are flipped in exchange. Squaring over GF(2)
doubles all exponents, hence the same three lags hold between bytes (exponents times 8) and 64-bit words (times 64).
Most of a message therefore folds into its last 6777 words by XORs of long arrays, these fold into their last 6777
bytes, and only those go through the customary table, one by one.
"""

import numpy as np

POLYNOMIAL = 0x82F63B78  # the bits of 0x1EDC6F41 in reversed order
LAGS = (6293, 6677, 6777)
WORDS_AT_ONCE = 1 << 16  # 512 KiB: stays in the cache


def table_row(octet: int) -> int:
    """What one byte does to the register."""
    for _ in range(8):
        octet = (octet >> 1) ^ (POLYNOMIAL if octet & 1 else 0)
    return octet


TABLE = [table_row(octet) for octet in range(256)]


def crc32c(data) -> int:
    """The CRC-32C of a bytes-like object or a contiguous array, in bounded memory whatever its size."""
    octets = np.frombuffer(data, np.uint8)
    whole = octets.size // 8 * 8
    words, rest = octets[:whole].view(np.uint64), np.empty(0, np.uint64)
    for start in range(0, words.size, WORDS_AT_ONCE):
        piece = np.concatenate([rest, words[start : start + WORDS_AT_ONCE]])
        if start == 0:
            piece.view(np.uint8)[:4] ^= 0xFF  # the same as starting from a register full of ones
        rest = fold(piece)
    tail = fold(np.concatenate([rest.view(np.uint8), octets[whole:]]))
    register = 0 if words.size else 0xFFFFFFFF
    for octet in tail.tobytes():
        register = TABLE[(register ^ octet) & 0xFF] ^ (register >> 8)
    return register ^ 0xFFFFFFFF


def masked_crc32c(data) -> int:
    """A CRC as LevelDB and TensorFlow store it: rotated and shifted, so that data may contain CRCs of their own."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def fold(cells: np.ndarray) -> np.ndarray:
    """Fold an array of bytes or words, in place, into its last 6777 cells, which leave the same remainder."""
    shortest, longest = LAGS[0], LAGS[-1]
    surplus = max(cells.size - longest, 0)
    for start in range(0, surplus, shortest):
        source = cells[start : min(start + shortest, surplus)]
        for lag in LAGS:
            cells[start + lag : start + lag + source.size] ^= source
    return cells[surplus:]
