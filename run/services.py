"""The services of the Procfile under honcho, with an answer to how it went."""

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from honcho.environ import expand_processes, parse_procfile
from honcho.manager import SYSTEM_PRINTER_NAME, Manager
from honcho.printer import Message, Printer

PROCFILE = Path(__file__).resolve().parents[1] / "Procfile"

_NEWS = re.compile(r"(?P<name>\S+) (?P<what>started|stopped) \((?:pid|rc)=(?P<number>-?\d+)\)\s*")


class Services(Manager):  # type: ignore[misc]  # honcho has no types
    """honcho's manager, which also says when all processes have started and which one ended of its own accord."""

    def __init__(
        self,
        users: int,
        environment: Mapping[str, str],
        own: Callable[[str, int], Mapping[str, str]],
        on_started: Callable[[], None],
    ) -> None:
        """Prepare `users` user services and a gateway.

        Args:
            users: how many user services there are.
            environment: what each process is given.
            own: from a name in the Procfile and a number, from 0, to what that process is given besides.
            on_started: called once, when all processes have started.
        """
        super().__init__(_Console(self._hear))
        self._on_started = on_started
        self.ended: tuple[str, int] | None = None
        """The name and the exit code of the process whose end ended the others."""
        self._waiting_to_start: set[str] = set()
        self._stop_is_due = False
        commands = parse_procfile(PROCFILE.read_text(encoding="utf-8")).processes
        for process in expand_processes(commands, concurrency={"user": users}):
            kind, _, number = process.name.partition(".")
            env = {**environment, **own(kind, int(number) - 1)}
            self.add_process(process.name, process.cmd, env=env, cwd=PROCFILE.parent)
            self._waiting_to_start.add(process.name)

    def terminate(self) -> None:
        """Stop all processes. What comes before all have started waits until then: honcho knows no ids to stop yet."""
        if self._waiting_to_start:
            self._stop_is_due = True
            return
        self._stop_is_due = False
        super().terminate()

    def _hear(self, name: str, what: str, number: int) -> None:
        if what == "started":
            self._waiting_to_start.discard(name)
            if not self._waiting_to_start:
                self._on_started()
                if self._stop_is_due:
                    self.terminate()
        elif self.ended is None and self.returncode is None:
            self.ended = (name, number)


class _Console(Printer):  # type: ignore[misc]
    """Prints what the processes write; hands on what honcho itself has to say."""

    def __init__(self, hear: Callable[[str, str, int], None]) -> None:
        super().__init__(sys.stdout)
        self._hear = hear

    def write(self, message: Message) -> None:
        super().write(message)
        if message.name == SYSTEM_PRINTER_NAME and (news := _NEWS.fullmatch(message.data)):
            self._hear(news["name"], news["what"], int(news["number"]))
