"""What other systems do otherwise, played on this one: for tests/test_portability.py."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest import mock


def _is_open(path: str | os.PathLike[str], folder: int | None) -> bool:
    """Whether this process has the file open; `folder` is what `dir_fd` was."""
    try:
        wanted = os.stat(path, dir_fd=folder, follow_symlinks=False)
    except OSError:
        return False
    for name in os.listdir("/proc/self/fd"):
        try:
            seen = os.stat(f"/proc/self/fd/{name}")
        except OSError:  # the handle of this very listing
            continue
        if (seen.st_dev, seen.st_ino) == (wanted.st_dev, wanted.st_ino):
            return True
    return False


def _refusing(real: Callable[..., None], *, target: bool = False) -> Callable[..., None]:
    def refuse(*paths: str | os.PathLike[str], dir_fd: int | None = None) -> None:
        for path in paths:
            if _is_open(path, dir_fd):
                raise PermissionError(13, "the file is open in this process", os.fspath(path))
        real(*paths) if target else real(*paths, dir_fd=dir_fd)

    return refuse


@contextmanager
def open_files_stay() -> Iterator[None]:
    """As on Windows: a file that this process has open cannot be deleted, moved or replaced.

    Linux only. `shutil.rmtree`, `tempfile` and `pathlib` go through what is replaced here.
    """
    with (
        mock.patch.object(os, "unlink", _refusing(os.unlink)),
        mock.patch.object(os, "remove", _refusing(os.remove)),
        mock.patch.object(os, "replace", _refusing(os.replace, target=True)),
        mock.patch.object(os, "rename", _refusing(os.rename, target=True)),
    ):
        yield
