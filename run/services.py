"""The services of the Procfile under honcho, with an answer to how it went."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from honcho.environ import expand_processes, parse_procfile
from honcho.manager import SYSTEM_PRINTER_NAME, Manager
from honcho.printer import Message, Printer

PROCFILE = Path(__file__).resolve().parents[1] / "Procfile"


class Services(Manager):  # type: ignore[misc]  # honcho has no types
    """honcho's manager, which also says when all processes have started and which one ended first."""

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
            environment: the environment of each process.
            own: from a name in the Procfile and a number, from 0, to the further environment of that process.
            on_started: called once, when all processes have started.
        """
        self.console = _Console(self._look)
        super().__init__(self.console)
        self._on_started: Callable[[], None] | None = on_started
        self.ended: tuple[str, int] | None = None
        """The name and the exit code of the process whose end ended the others."""
        self._stop_is_due = False
        commands = parse_procfile(PROCFILE.read_text(encoding="utf-8")).processes
        for process in expand_processes(commands, concurrency={"user": users}):
            kind, _, number = process.name.partition(".")
            env = {**environment, **own(kind, int(number) - 1)}
            self.add_process(process.name, process.cmd, env=env, cwd=PROCFILE.parent)

    def terminate(self) -> None:
        """Stop all processes; before all have started, as soon as they have: honcho does not know their ids yet."""
        if self._all_started():
            super().terminate()
        else:
            self._stop_is_due = True

    def _look(self) -> None:
        """React to what honcho has just reported of a process."""
        if self._on_started is not None and self._all_started():
            self._on_started()
            self._on_started = None
            if self._stop_is_due:
                super().terminate()
        if self.ended is None and self.returncode is None:
            codes = {name: process.get("returncode") for name, process in self._processes.items()}
            self.ended = next(((name, code) for name, code in codes.items() if code is not None), None)


class _Console(Printer):  # type: ignore[misc]
    """Prints what the processes write; on a terminal, routine lines only once they are ready."""

    def __init__(self, on_news: Callable[[], None]) -> None:
        # lines of text carry the time already
        super().__init__(sys.stdout, time_format="" if sys.stdout.isatty() else "%H:%M:%S")
        self._on_news = on_news
        self.starting = sys.stdout.isatty()

    def write(self, message: Message) -> None:
        is_news = message.name == SYSTEM_PRINTER_NAME
        if not (self.starting and (is_news or " INFO " in str(message.data))):
            super().write(message)
        if is_news:
            self._on_news()
