"""One folder on any filesystem: local paths at first hand, everything else through fsspec.

Names are taken literally: no pattern, no percent-decoding, no environment variable, so brackets,
`#`, `%`, `$`, quotes and spaces are letters like any other. A file appears under its name whole or
not at all. Not here: what the files mean, and deleting of folders.
"""

from __future__ import annotations

import os
import re
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import IO, Any

from manifests.errors import StorageError

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(::[A-Za-z][A-Za-z0-9+.-]*)*://")
_LOCAL_URL = re.compile(r"(file|local)://")
_TEMP_NAME = re.compile(r"\.[0-9a-f]{32}\.part")

# Where a half-written file can be seen and a rename is one step. On all other remote filesystems
# (object stores) a PUT is atomic already, and a rename would be a copy.
_RENAMING_PROTOCOLS = frozenset({"sftp", "ssh", "smb", "hdfs", "arrow_hdfs", "webhdfs"})


@dataclass(frozen=True)
class Folder:
    """A folder that can travel to another process: nothing but its address.

    Every method raises `StorageError` where a file is absent, cannot be reached, read or written,
    or where a name leads out of the folder.

    Attributes:
        url: A local path, which is made absolute so that a worker with another working directory
            means the same folder, or any fsspec URL (`file://`, `s3://`, `memory://`, ...).
    """

    url: str

    def __post_init__(self) -> None:
        if not self.url or "\0" in self.url:
            raise StorageError(f"{self.url!r} is no folder: give a path or an fsspec URL")
        object.__setattr__(self, "url", _normal(self.url))

    def __str__(self) -> str:
        return self.url

    @classmethod
    def split(cls, url: str) -> tuple[Folder, str]:
        """Divide the address of one file into its folder and its name."""
        folder, _, name = (url if _is_remote(url) else _normal(url)).rpartition("/")
        if not name:
            raise StorageError(f"{url!r} does not name a file: give FOLDER/NAME")
        at_root = not folder or folder.endswith(":/")
        return cls(f"{folder}/" if at_root else folder), name

    def join(self, *parts: str) -> str:
        """Return the address of something below this folder."""
        return _below(self.url, "/".join(parts))

    def sub(self, *parts: str) -> Folder:
        """Return a folder below this one."""
        return Folder(self.join(*parts))

    def open_read(self, name: str) -> IO[bytes]:
        """Open a file for reading and seeking; the caller closes it."""
        fs, path = self._at(name)
        with _explained(self.join(name), "opened for reading"):
            file: IO[bytes] = open(path, "rb") if fs is None else fs.open(path, "rb")  # noqa: SIM115
            return file

    def read_bytes(self, name: str) -> bytes:
        """Return the whole of a file."""
        with self.open_read(name) as file, _explained(self.join(name), "read"):
            return file.read()

    def read_range(self, name: str, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset`, or fewer where the file ends; one range request."""
        if size == 0:
            return b""
        fs, path = self._at(name)
        with _explained(self.join(name), "read"):
            if fs is not None:
                return bytes(fs.cat_file(path, start=offset, end=offset + size))
            with open(path, "rb") as file:
                file.seek(offset)
                return file.read(size)

    def exists(self, name: str) -> bool:
        """Tell whether there is a file or folder of that name."""
        fs, path = self._at(name)
        return os.path.exists(path) if fs is None else bool(fs.exists(path))

    def is_folder(self) -> bool:
        """Tell whether this folder is there (in an object store: whether anything is in it)."""
        fs, path = self._root()
        return os.path.isdir(path) if fs is None else bool(fs.isdir(path))

    def size(self, name: str) -> int:
        """Return the number of bytes of a file."""
        fs, path = self._at(name)
        with _explained(self.join(name), "measured"):
            num_bytes = os.path.getsize(path) if fs is None else fs.size(path)
        if num_bytes is None:
            raise StorageError(f"{self.join(name)}: its filesystem does not tell sizes; copy it")
        return int(num_bytes)

    def list(self, prefix: str = "") -> tuple[str, ...]:
        """Return the sorted names of all files, at any depth, whose names start with `prefix`.

        Files that are still being written are left out, links to folders are not followed, and a
        folder that is not there has no files.
        """
        fs, root = self._root()
        above = prefix.rpartition("/")[0]
        start = f"{root.rstrip('/')}/{above}" if above else root or "/"
        if fs is None:
            found = [os.path.join(at, file) for at, _, files in os.walk(start) for file in files]
        else:
            found = [str(path) for path in fs.find(start)]
        names = sorted(path[len(root.rstrip("/")) + 1 :] for path in found)
        whole = (name for name in names if not _TEMP_NAME.fullmatch(name.rpartition("/")[2]))
        return tuple(name for name in whole if name and name.startswith(prefix))

    def write_bytes(self, name: str, data: bytes) -> None:
        """Write a file whole, in place of any that is there."""
        with self.writer(name) as file:
            file.write(data)

    def writer(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """Write a file piece by piece; it appears when the block ends well, else never.

        Locally the bytes go beside the target, are flushed to disk, and renamed. Elsewhere they
        gather in a local temporary file (which needs that much local disk) and are put at the end.
        """
        fs, path = self._at(name)
        return _renamed(path) if fs is None else _spooled(fs, path)

    def remove(self, name: str, *, missing_ok: bool = False) -> None:
        """Delete one file."""
        if missing_ok and not self.exists(name):
            return
        fs, path = self._at(name)
        with _explained(path, "removed"):
            (os.remove if fs is None else fs.rm_file)(path)

    def _root(self) -> tuple[Any, str]:
        """Return the filesystem (None: this machine's own) and the path of this folder on it."""
        if not _is_remote(self.url):
            return None, self.url
        import fsspec  # takes longer to import than a local table to read

        try:
            fs, root = fsspec.core.url_to_fs(self.url)
        except (ValueError, ImportError) as error:
            raise StorageError(f"{self.url}: cannot be reached: {error}") from error
        fs.invalidate_cache()  # another process may have written since the last listing
        return fs, str(root)

    def _at(self, name: str) -> tuple[Any, str]:
        fs, root = self._root()
        return fs, _below(root, name)


def _is_remote(url: str) -> bool:
    return bool(_URL.match(url)) and not _LOCAL_URL.match(url)


def _normal(url: str) -> str:
    """Return a local path made absolute, or a URL without its last slashes."""
    if _is_remote(url):
        bare = url.rstrip("/")
        return f"{bare}//" if bare.endswith(":") else bare
    path = _LOCAL_URL.sub("", url, count=1)
    return os.path.abspath(os.path.expanduser(path) if path.startswith("~/") else path)


def _below(root: str, name: str) -> str:
    if "\0" in name or any(part in {"", ".", ".."} for part in name.split("/")):
        raise StorageError(f"{name!r} leads out of {root}: give a name without '.', '..', '//'")
    return f"{root}{'' if root.endswith('/') else '/'}{name}"


@contextmanager
def _explained(place: str, deed: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise StorageError(f"{place}: cannot be {deed}: it is not there; check its name") from error
    except OSError as error:
        raise StorageError(f"{place}: cannot be {deed}: {error}") from error


@contextmanager
def _renamed(path: str) -> Iterator[IO[bytes]]:
    folder = os.path.dirname(path)
    temp = os.path.join(folder, f".{uuid.uuid4().hex}.part")
    with _explained(path, "written"):
        os.makedirs(folder, exist_ok=True)
        file = open(temp, "xb")  # noqa: SIM115
    try:
        with file:
            yield file
            with _explained(path, "written"):
                file.flush()
                os.fsync(file.fileno())
        with _explained(path, "written"):
            os.replace(temp, path)
            descriptor = os.open(folder, os.O_RDONLY)
        with suppress(OSError):  # some network mounts cannot; the file is there all the same
            os.fsync(descriptor)  # a name lives in its folder, not in the file
        os.close(descriptor)
    finally:
        if os.path.exists(temp):
            os.remove(temp)


@contextmanager
def _spooled(fs: Any, path: str) -> Iterator[IO[bytes]]:
    with tempfile.NamedTemporaryFile(prefix="talkreel-") as spool:
        yield spool
        spool.flush()
        with _explained(path, "written"):
            if _RENAMING_PROTOCOLS.isdisjoint(
                [fs.protocol] if isinstance(fs.protocol, str) else fs.protocol
            ):
                fs.put_file(spool.name, path)
                return
            folder = path.rpartition("/")[0]
            fs.makedirs(folder, exist_ok=True)
            temp = f"{folder}/.{uuid.uuid4().hex}.part"
            try:
                fs.put_file(spool.name, temp)
                fs.mv(temp, path)
            finally:
                if fs.exists(temp):
                    fs.rm_file(temp)
