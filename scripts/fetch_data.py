"""Download and unpack data sets whose addresses you know.

    python -m scripts.fetch_data REGISTRY.yaml data.root=DATA [--only NAME …]

This project contains no addresses: you write the registry, one entry per set.

    CAMO:
      url: https://…/camo.zip         # http or https; zip, tar, tar.gz, tar.bz2 or tar.xz
      sha256: "64 hexadecimal digits"
      folder: TrainDataset/CAMO       # under DATA; must not exist yet
      size: 123456                    # bytes; optional

After an interruption the same command resumes. Nothing that exists is overwritten; sets that were fetched before are
skipped. Exit status: 0: all sets are present; 2: something is missing; 130: stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from yaml import YAMLError

from src.cli.command import console
from src.cli.command_line import override, shell_line
from src.cli.script import ScriptParser
from src.data.archives.fetch import Download, download, forget, probe
from src.data.archives.unpack import receipt_of, unpack
from src.utils.errors import Problems, UserError

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]

KEYS = ("url", "sha256", "folder", "size")
PARTS = ".fetch"
"""The folder under the data root that holds unfinished downloads."""


def main() -> None:
    """Run the command line of :func:`fetch`."""
    parser = ScriptParser(__doc__)
    parser.add_argument("registry", type=Path, help="a YAML file like the one above")
    parser.add_data_root()
    parser.add_argument("--only", nargs="+", metavar="NAME", help="only these entries of the registry (default: all)")
    parser.run(_fetch)


def _fetch(arguments: argparse.Namespace) -> int:
    try:
        fetch(arguments.registry, arguments.data_root, arguments.only)
    except KeyboardInterrupt:
        print("stopped; the same command resumes from here", file=sys.stderr)
        return 130
    return 0


def fetch(registry: Path, root: Path, only: list[str] | None = None) -> list[str]:
    """Fetch the sets that do not exist yet; if one fails, the others are still fetched.

    Args:
        registry: the YAML file.
        root: the data root.
        only: names of the entries to fetch; None: all.

    Returns:
        The names of the sets that were fetched.

    Raises:
        UserError: before the first byte is downloaded: all problems with the registry, the folders, the servers or the
            disk space; afterwards: everything that failed.
    """
    sources, out = read_registry(registry, only), console()
    wanted = [source for source in sources if not _is_there(source, root)]
    for source in sources:
        if source not in wanted:
            _say(out, f"{source.name}: {root / source.folder} was fetched before, skipped")
    _check(wanted, root)
    problems, came = Problems(), list[str]()
    if not wanted:
        return came
    with _alone(root):
        for source in wanted:
            with problems.catch():
                _fetch_one(source, root, out)
                came.append(source.name)
    with suppress(OSError):  # unfinished downloads stay for the next call
        (root / PARTS).rmdir()
    problems.raise_all()
    command = shell_line("scripts.verify_data", override("data.root", root), "data=cod")
    _say(out, f"next (set data=… to the task of these sets): {command}")
    return came


def read_registry(path: Path, only: list[str] | None = None) -> list[Download]:
    """Return the entries of a registry, or those named in `only`.

    Raises:
        UserError: all problems of all entries.
    """
    try:
        content = OmegaConf.to_container(OmegaConf.load(path), resolve=False)  # rejects duplicate keys
    except (OSError, UnicodeDecodeError, YAMLError, OmegaConfBaseException) as error:
        raise UserError(f"{path}: cannot be read as YAML ({error})") from error
    if not isinstance(content, dict) or not content:
        raise UserError(f"{path}: must hold one entry per set: NAME: {{url: …, sha256: …, folder: …}}")
    problems = Problems()
    sources = [source for name, entry in content.items() if (source := _source(name, entry, problems))]
    for number, one in enumerate(sources):
        for other in sources[:number]:
            if one.folder.is_relative_to(other.folder) or other.folder.is_relative_to(one.folder):
                problems.append(
                    f"{one.name}: folder: {one.folder} and that of {other.name}, {other.folder}, "
                    "must not contain each other"
                )
            if one.name.casefold() == other.name.casefold():
                problems.append(f"{one.name}: differs from {other.name} in letter case only")
    for name in only or ():
        if name not in content:
            near = get_close_matches(name, map(str, content), 1)
            problems.append(f"--only {name}: not in the registry" + (f"; did you mean {near[0]}?" if near else ""))
    problems.raise_all(f"{path}:")
    return [source for source in sources if only is None or source.name in only]


def _source(name: Any, entry: Any, problems: list[str]) -> Download | None:
    if not isinstance(entry, dict):
        problems.append(f"{name}: must be a mapping with url, sha256, folder and perhaps size")
        return None
    url, sha256, folder, size = (entry.get(key) for key in KEYS)
    found = [f"{key}: unknown key; choose from {', '.join(KEYS)}" for key in entry if key not in KEYS]
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", str(name)):
        found.append("a name may only have letters, digits and . _ -")
    if wrong := _wrong_url(url):
        found.append(f"url: {wrong}")
    if not isinstance(sha256, str) or not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        found.append(f"sha256: {sha256}: must be 64 hexadecimal digits, in quotes")
    parts = PurePosixPath(folder).parts if isinstance(folder, str) else ()
    if not parts or ".." in parts or parts[0] in ("/", PARTS) or re.search(r"[\\:\x00-\x1f]", str(folder)):
        found.append(f"folder: {folder}: must be a folder under the data root, e.g. TrainDataset/CAMO")
    if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 1):
        found.append(f"size: {size}: must be a number of bytes")
    problems += [f"{name}: {one}" for one in found]
    return None if found else Download(str(name), str(url), str(sha256).lower(), Path(*parts), size)


def _wrong_url(url: Any) -> str | None:
    if not isinstance(url, str):
        return f"{url}: must be the address of the file"
    try:
        parts = urlsplit(url)
        complete = bool(parts.hostname) and parts.port != 0
    except ValueError:
        complete = False
    if not complete or not re.fullmatch(r"[\x21-\x7e]+", url):
        return f"{url}: not a complete address (write spaces and accented letters as %20 and so on)"
    if parts.scheme not in ("http", "https"):
        return f"{url}: must begin with https:// or http://; a local archive need not be fetched"
    return f"{parts.hostname}: user and password do not belong in a registry" if parts.username is not None else None


def _is_there(source: Download, root: Path) -> bool:
    return receipt_of(root / source.folder).get("sha256") == source.sha256


def _check(wanted: list[Download], root: Path) -> None:
    """Check everything that can be checked before the first byte is downloaded: folders, servers, disk space."""
    problems, sizes, already = Problems(), [0], 0
    for source in wanted:
        problems += _wrong_place(source, root / source.folder)
        part = _part(source, root)
        already += part.stat().st_size if part.exists() else 0
        with problems.catch():
            sizes.append(probe(source) or 0)
    free = shutil.disk_usage(next(path for path in (root, *root.absolute().parents) if path.exists())).free
    # Unpacked images are hardly larger than their archive, and only one archive exists at a time.
    needed = sum(sizes) + max(sizes) - already
    if needed > free:
        problems.append(
            f"archives and their contents need about {decimal(needed)}, "
            f"and {decimal(free)} are free in {root}; make room"
        )
    problems.raise_all("nothing was fetched:")


def _wrong_place(source: Download, target: Path) -> Iterator[str]:
    there = next(path for path in (target, *target.absolute().parents) if path.exists() or path.is_symlink())
    if there == target and (there.is_symlink() or not there.is_dir() or any(there.iterdir())):
        yield f"{source.name}: {target} exists and did not come from this archive; move it away or name another folder"
    elif not there.is_dir():
        yield f"{source.name}: {there} is a file; move it away or name another folder"
    elif not os.access(there, os.W_OK):
        yield f"{source.name}: nothing can be written to {there}"


def _part(source: Download, root: Path) -> Path:
    return root / PARTS / f"{source.name}.part"


def _fetch_one(source: Download, root: Path, out: Console) -> None:
    part, target = _part(source, root), root / source.folder
    if out.is_terminal:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=out) as bar:
            task = bar.add_task(source.name, total=source.size)
            download(source, part, lambda got, total: bar.update(task, completed=got, total=total))
    else:
        _say(out, f"{source.name}: {source.url}")
        download(source, part)
    size = part.stat().st_size
    _say(out, f"{source.name}: {decimal(size)}, SHA-256 as expected; unpacking")
    count = unpack(part, target, {"name": source.name, "url": source.url, "sha256": source.sha256})
    forget(part)
    _say(out, f"{source.name}: {count} files in {target}")


def _say(out: Console, text: str) -> None:
    out.print(text, highlight=False, markup=False, emoji=False, soft_wrap=True)


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Lock the data root in the block, so that no two processes write the same unfinished file."""
    (root / PARTS).mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        yield
        return
    lock = root / PARTS / "lock"
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"another process is fetching into {root}; wait for it") from error
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
