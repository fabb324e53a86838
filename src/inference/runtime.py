"""onnxruntime-web, which runs the network in the browser: fetched once by the user's npm, checked and cached."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from src.utils.cache_dir import cache_dir, keep
from src.utils.errors import Problems, UserError

PACKAGE = "onnxruntime-web@1.30.0"
CHECKSUMS = {
    "ort.wasm.min.mjs": "219e6a1fc8a9938268d18efca3c91d310bd2f4a59bbd13744df5b2b7fc6cee3b",
    "ort-wasm-simd-threaded.mjs": "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b",
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
"""SHA-256 of the files that the page loads, in the package's folder ``dist``."""
PATIENCE = 300
"""Seconds for npm's download of 33 MB."""
WAYS = (
    "install npm (it comes with Node.js) and run this again: the files are fetched once and kept in the cache",
    f"runtime=FOLDER: a folder with {', '.join(CHECKSUMS)} of {PACKAGE}, such as that package's dist folder",
)


def web_runtime(folder: str | None = None) -> Path:
    """Return a folder with the files of `CHECKSUMS`, each of them checked.

    Args:
        folder: where the user has them; None takes those of the cache, which npm fills if need be.

    Raises:
        UserError: a file is missing or has a wrong checksum; npm is not installed or cannot fetch the package.
    """
    if folder is not None:
        if problems := _problems(Path(folder)):
            raise UserError(f"runtime={folder} is not the runtime of {PACKAGE}:", problems)
        return Path(folder)
    cached = cache_dir() / "web" / PACKAGE
    if _problems(cached):
        _fetch(cached)
    return cached


def _problems(folder: Path) -> Problems:
    """Return one line per file of a folder that is missing or has a wrong checksum."""
    problems = Problems()
    for name in CHECKSUMS:
        path = folder / name
        if not path.is_file():
            problems.append(f"{path} is missing")
        elif not _is_right(name, path.read_bytes()):
            problems.append(f"{path} has another checksum: it is of another version, or damaged")
    return problems


def _is_right(name: str, content: bytes) -> bool:
    return hashlib.sha256(content).hexdigest() == CHECKSUMS[name]


def _fetch(target: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise UserError("the page needs onnxruntime-web, and npm, which fetches it, is not installed. Ways out:", WAYS)
    with tempfile.TemporaryDirectory() as folder:
        files = _read(npm_pack(npm, PACKAGE, Path(folder)))
    wrong = [
        f"{name} has another checksum, or is missing" for name in CHECKSUMS if not _is_right(name, files.get(name, b""))
    ]
    if wrong:
        raise UserError(
            f"what npm fetched is not {PACKAGE} as this page was made for it; nothing of it is used:", [*wrong, WAYS[1]]
        )
    for name, content in files.items():
        if not keep(target / name, content):
            raise UserError(
                f"{target / name} cannot be written; choose another cache folder by $COS_CACHE, or give runtime=FOLDER"
            )


def npm_pack(npm: str, package: str, folder: Path) -> Path:
    """Let npm download a package into a folder and return its archive; nothing of the package is installed or run.

    Raises:
        UserError: npm could not.
    """
    command = [npm, "pack", package, "--silent", "--ignore-scripts"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=False)
        said = (done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}").splitlines()[0]
    except (OSError, subprocess.TimeoutExpired) as error:
        said = str(error)
    archives = sorted(folder.glob("*.tgz"))
    if not archives:
        raise UserError(
            f"npm could not fetch {package} ({said[:200]}). Ways out:", ["run this again with a network", WAYS[1]]
        )
    return archives[0]


def _read(archive: Path) -> dict[str, bytes]:
    """Return those files of `CHECKSUMS` that an archive of npm's holds."""
    files = {}
    with tarfile.open(archive) as package:
        for member in package:
            folder, _, name = member.name.rpartition("/")
            if folder == "package/dist" and name in CHECKSUMS and (file := package.extractfile(member)):
                files[name] = file.read()
    return files
