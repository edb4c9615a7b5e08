"""The reader of mounted files: sets of files are read together, and again when they change.

Kubernetes renews a mounted Secret by making a new folder and moving the link `..data` to it
(https://kubernetes.io/docs/concepts/configuration/secret/#using-secrets-as-files-from-a-pod). The link is resolved once
for a set, so that its files are all of one version. The contents are polled: notifications (inotify) are lost when the
folder that they were asked for is replaced, do not exist on some network file systems, and reading a few kilobytes
every ten seconds costs nothing.
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from service_kit.files import metrics
from service_kit.threads import EssentialThread

INTERVAL = 10.0
"""Seconds between two looks at the files, at most."""

_ATTEMPTS = 3
"""Readings of a set while the kubelet removes the version that is being read."""

logger = logging.getLogger(__name__)

T = TypeVar("T")


class File(NamedTuple):
    """A mounted file."""

    setting: str
    """What names it, such as `GRPC_TLS_CERT_FILE`, for people."""
    path: Path
    optional: bool = False
    """Whether it may be missing, which is the same as empty."""


class UnusableFileError(ValueError):
    """A file that cannot be used; the message shows nothing of its contents."""

    def __init__(self, file: File, reason: str) -> None:
        super().__init__(f"{file.setting}: {file.path} {reason}")
        self.file = file


Contents = Mapping[File, bytes]


class MountedFiles(Generic[T]):
    """A set of files that belong together, and the parsed value of their newest usable contents."""

    def __init__(self, files: Sequence[File], parse: Callable[[Contents], T]) -> None:
        """Read the files; `parse` raises UnusableFileError for contents that cannot be used.

        Raises:
            UnusableFileError: there is nothing to go on with yet.
        """
        self._files = tuple(files)
        self._parse = parse
        self._listeners: list[Callable[[], None]] = []
        self._failure_listeners: list[Callable[[], None]] = []
        self._cause = ""
        self._contents = _read(self._files)
        self.value = parse(self._contents)
        """What `parse` returned last. Replaced as a whole, and to be read once for each use."""
        for file in self._files:
            metrics.declare(file.path)

    def get(self) -> T:
        """Return `value`."""
        return self.value

    def on_change(self, listener: Callable[[], None]) -> None:
        """Have `listener` called on the reader's thread after `value` has changed."""
        self._listeners.append(listener)

    def on_failure(self, listener: Callable[[], None]) -> None:
        """Have `listener` called on the reader's thread after each reading that could not be used."""
        self._failure_listeners.append(listener)

    def check(self) -> None:
        """Read the files, and keep what there is unless they have changed and can be used."""
        try:
            contents = _read(self._files)
            if contents == self._contents:
                self._cause = ""
                return
            self.value = self._parse(contents)
        except UnusableFileError as error:
            metrics.failed(error.file.path)
            if str(error) != self._cause:
                self._cause = str(error)
                logger.warning("a mounted file cannot be used, the one before is kept", extra={"cause": self._cause})
            for listener in self._failure_listeners:
                listener()
            return
        changed = [file.path for file in self._files if contents[file] != self._contents[file]]
        self._contents, self._cause = contents, ""
        for path in changed:
            metrics.taken(path)
        logger.info("mounted files have changed", extra={"files": [str(path) for path in changed]})
        for listener in self._listeners:
            listener()


class Reader:
    """Reads sets of files again every few seconds, on a thread of its own."""

    def __init__(self, interval: float = INTERVAL) -> None:
        """`interval` is in seconds."""
        self._interval = interval
        self._sets: list[MountedFiles[object]] = []
        self._stopped = threading.Event()
        self.thread = EssentialThread("mounted files", self._run)

    def follow(self, files: Sequence[File], parse: Callable[[Contents], T]) -> MountedFiles[T]:
        """Read a set of files now and whenever it changes.

        Raises:
            UnusableFileError: when it cannot be used now.
        """
        followed = MountedFiles(files, parse)
        self._sets.append(followed)  # type: ignore[arg-type]  # only checked
        return followed

    def start(self) -> None:
        """Start reading again."""
        self.thread.start()

    def stop(self) -> None:
        """Stop reading."""
        self._stopped.set()

    def check(self) -> None:
        """Read every set now."""
        for followed in tuple(self._sets):
            try:
                followed.check()
            except Exception:
                logger.exception("mounted files could not be read again")

    def _run(self) -> None:
        while not self._stopped.wait(self._interval):
            self.check()


def password(contents: Contents) -> str:
    """Return the text of the one file, without the line's end.

    Raises:
        UnusableFileError: when it is empty or not UTF-8.
    """
    ((file, data),) = contents.items()
    text = text_of(file, data)
    if not text:
        raise UnusableFileError(file, "is empty")
    return text


def text_of(file: File, data: bytes) -> str:
    """Return the text of a file, without the line's end.

    Raises:
        UnusableFileError: when it is not UTF-8.
    """
    try:
        return data.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise UnusableFileError(file, "is not UTF-8") from None


def _read(files: Sequence[File]) -> dict[File, bytes]:
    for attempt in range(_ATTEMPTS):
        versions: dict[Path, Path] = {}
        contents = {}
        try:
            for file in files:
                path = _resolve(file.path.absolute(), versions)
                contents[file] = _bytes_of(path, file.optional and (attempt + 1 == _ATTEMPTS or path.parent.exists()))
        except FileNotFoundError:
            if attempt + 1 == _ATTEMPTS:
                raise UnusableFileError(file, "does not exist") from None
        except OSError as error:
            raise UnusableFileError(file, f"cannot be read: {error.strerror}") from None
        else:
            return contents
    raise AssertionError


def _bytes_of(path: Path, may_be_missing: bool) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        if may_be_missing:
            return b""
        raise


def _resolve(path: Path, versions: dict[Path, Path]) -> Path:
    """Return where `path` is in the version of its volume that `versions` has, or that is the present one."""
    for folder in path.parents:
        link = folder / "..data"
        if link not in versions:
            if not link.is_symlink() or path.is_relative_to(link):
                continue
            versions[link] = link.resolve()
        return versions[link] / path.relative_to(folder)
    return path
