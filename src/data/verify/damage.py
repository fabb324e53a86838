"""Damage that decoders pass over: files with a good beginning and a broken body.

Pillow silently decodes a JPEG with a hole in it to a grey or smeared picture. libjpeg, called by OpenCV, reports the
damage on the standard error stream of the process; so a process that looks for damage first redirects that stream to a
file (`capture_decoder_warnings`) and reads it after each image. PNG has a checksum for every chunk.
"""

from __future__ import annotations

import os
import tempfile
import zlib
from typing import IO

import cv2
import numpy as np

JPEG, PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"

_heard: IO[bytes] | None = None


def capture_decoder_warnings() -> None:
    """Send this process's standard error stream to a file from now on; meant for worker processes."""
    global _heard
    _heard = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the process)
    os.dup2(_heard.fileno(), 2)


def damage(content: bytes) -> str | None:
    """Return what is broken in the body of a JPEG or PNG file, in the decoder's words.

    None if nothing is, and for other formats. JPEGs are judged only after `capture_decoder_warnings`.
    """
    if content.startswith(JPEG) and _heard is not None:
        return _jpeg_damage(content, _heard)
    return _png_damage(content) if content.startswith(PNG) else None


def _jpeg_damage(content: bytes, heard: IO[bytes]) -> str | None:
    heard.seek(0)
    heard.truncate()
    decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    heard.seek(0)
    lines = [line for line in heard.read().decode(errors="replace").splitlines() if "JPEG" in line]
    if lines:
        return lines[0].strip()
    return "libjpeg cannot decode it" if decoded is None else None


def _png_damage(content: bytes) -> str | None:
    position = len(PNG)
    while position + 12 <= len(content):
        length = int.from_bytes(content[position : position + 4], "big")
        end = position + 8 + length
        kind = content[position + 4 : position + 8]
        if end + 4 > len(content):
            return f"chunk {kind!r} is cut short"
        if zlib.crc32(content[position + 4 : end]) != int.from_bytes(content[end : end + 4], "big"):
            return f"chunk {kind!r} has a wrong checksum"
        if kind == b"IEND":
            return None
        position = end + 4
    return "the end of the PNG is missing"
