"""Reads what W&B writes offline: a log of 32 KiB blocks (LevelDB's format) that holds protobuf records."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

BLOCK, HEADER, FILE_HEADER = 32768, 7, 7
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def records(path: Path) -> Iterator[Any]:
    """All records of a ``run-ID.wandb``."""
    content, position, parts = path.read_bytes(), FILE_HEADER, b""
    while position + HEADER <= len(content):
        if BLOCK - position % BLOCK < HEADER:  # too short for a header: padding
            position += BLOCK - position % BLOCK
            continue
        _checksum, length, kind = struct.unpack("<IHB", content[position : position + HEADER])
        parts += content[position + HEADER : position + HEADER + length]
        position += HEADER + length
        if kind in (FULL, LAST):
            record = Record()
            record.ParseFromString(parts)
            yield record
            parts = b""


class OfflineRun:
    """A run as its file tells it: its head, the configuration, the history's rows, artifacts, and the status it ended with."""

    def __init__(self, folder: Path) -> None:
        (path,) = folder.glob("*.wandb")
        self.folder, self.config, self.history, self.artifacts = folder, {}, [], []
        self.exit_code = None
        for record in records(path):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                self.run = record.run
                self._configure(record.run.config.update)
            elif kind == "config":
                self._configure(record.config.update)
            elif kind == "history":
                self.history.append({_key(item): json.loads(item.value_json) for item in record.history.item})
            elif kind == "artifact" or (kind == "request" and record.request.HasField("log_artifact")):
                self.artifacts.append(record.artifact if kind == "artifact" else record.request.log_artifact.artifact)
            elif kind == "exit":
                self.exit_code = record.exit.exit_code

    @property
    def keys(self) -> set[str]:
        """All keys of the history."""
        return {key for row in self.history for key in row}

    def series(self, key: str) -> list[Any]:
        """All values of a key of the history."""
        return [row[key] for row in self.history if key in row]

    def _configure(self, items: Any) -> None:
        self.config |= {_key(item): json.loads(item.value_json) for item in items}


def _key(item: Any) -> str:
    return item.key or ".".join(item.nested_key)
