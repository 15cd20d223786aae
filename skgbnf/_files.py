"""Regular files, read whole and replaced whole."""

import os
import secrets
import stat
from contextlib import suppress

Path = str | os.PathLike[str]


def check_file_path(path: object) -> None:
    """Raise unless `path` is a string or a path, and not an empty one."""
    # An integer would be taken for an open file, and closed.
    if not (isinstance(path, str | os.PathLike) and isinstance(os.fspath(path), str)):
        raise TypeError(f"path must be a string or a path, got {path!r}.")
    if not os.fspath(path):
        raise ValueError("path must name a file, got ''.")


def read_file(path: Path) -> bytes:
    """Contents of a regular file.

    Raises
    ------
    OSError
        If it is none, or cannot be read. A pipe or a device is not waited for.
    """
    _check_regular(path, os.stat(path))
    with open(path, "rb", opener=_open_without_waiting) as file:
        status = os.fstat(file.fileno())
        _check_regular(path, status)
        # Some files of the system say that they are empty and have no end.
        return file.read(status.st_size)


def check_replaceable(path: Path) -> int | None:
    """Mode of the file that :func:`replace_file` would replace, None if there is none.

    Raises
    ------
    OSError
        If what is there is no regular file.
    """
    if not os.path.basename(path):
        raise IsADirectoryError(f"{os.fspath(path)!r} names a folder, not a file.")
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    _check_regular(path, status)
    return stat.S_IMODE(status.st_mode)


def replace_file(path: Path, content: bytes) -> None:
    """Write a file all at once: whoever reads sees the old one or the new one.

    A link stays one, and leads to the new file. A file that was there keeps its mode. What fails
    or is interrupted leaves the old file, and no other.

    Raises
    ------
    OSError
        If it cannot be written, or what is there is no regular file.
    """
    mode = check_replaceable(path)
    target = os.path.realpath(path)
    # A name that nobody can know beforehand, and a file that must not be there.
    temporary = os.path.join(os.path.dirname(target), f".skgbnf-{secrets.token_hex(16)}")
    try:
        _write_new(temporary, content, mode)
        os.replace(temporary, target)
    except BaseException as error:
        with suppress(OSError):
            os.remove(temporary)
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, os.fspath(path)) from error
        raise


def _write_new(path: str, content: bytes, mode: int | None) -> None:
    """Write a file that is not there; by None its mode is what the user's mask gives."""

    def create(name: str, flags: int) -> int:
        return os.open(name, flags, 0o666 if mode is None else mode)

    with open(path, "xb", opener=create) as file:
        if mode is not None and hasattr(os, "fchmod"):
            # The mask has taken away what the file that was there allowed.
            os.fchmod(file.fileno(), mode)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _open_without_waiting(name: str, flags: int) -> int:
    return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))


def _check_regular(path: Path, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(f"{os.fspath(path)!r} is a folder, not a file.")
    if not stat.S_ISREG(status.st_mode):
        raise OSError(f"{os.fspath(path)!r} is a pipe, a socket or a device, not a regular file.")
