"""A client of debugpy, as an editor is one: Debug Adapter Protocol, JSON behind a Content-Length."""

import json
import socket
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

Message = dict[str, Any]


class Debugger:
    """Attached to a process in a pod, whose `/app` is the folder `root` here; at the end the process goes on."""

    def __init__(self, port: int, root: Path, *, timeout: float = 60) -> None:
        """Attach through a forwarded port of 127.0.0.1.

        Raises:
            TimeoutError: here and in each method, when the debugger does not answer within `timeout` seconds.
        """
        self._root = root
        self._socket = socket.create_connection(("127.0.0.1", port), timeout)
        self._stream = self._socket.makefile("rwb")
        self._sent = 0
        self._received: list[Message] = []
        self._response(self._send("initialize", adapterID="debugpy", pathFormat="path"))
        mappings = [{"localRoot": str(root), "remoteRoot": "/app"}]
        attached = self._send("attach", pathMappings=mappings, subProcess=False)
        self._event("initialized")
        self._response(self._send("configurationDone"))
        self._response(attached)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()
        self._socket.close()

    def break_at(self, path: str, statement: str) -> tuple[str, int]:
        """Set a breakpoint at the first line that is this statement; return its file and line."""
        file = self._root / path
        line = [text.strip() for text in file.read_text().splitlines()].index(statement) + 1
        body = self._set_breakpoints(file, line)
        assert body["breakpoints"][0]["verified"], body
        return str(file), line

    def clear(self, path: str) -> None:
        """Remove the breakpoints of a file."""
        self._set_breakpoints(self._root / path)

    def wait_until_stopped(self) -> tuple[str, int]:
        """Wait until a thread stands at a breakpoint; return the file and line."""
        stopped = self._event("stopped")["body"]
        assert stopped["reason"] == "breakpoint", stopped
        assert stopped["allThreadsStopped"], stopped
        self._thread = stopped["threadId"]
        frame = self._response(self._send("stackTrace", threadId=self._thread, levels=1))["stackFrames"][0]
        self._frame = frame["id"]
        return frame["source"]["path"], frame["line"]

    def evaluate(self, expression: str) -> str:
        """Return the representation of an expression's value where the process stands."""
        result: str = self._response(self._send("evaluate", expression=expression, frameId=self._frame))["result"]
        return result

    def go_on(self) -> None:
        """Let all threads run."""
        self._response(self._send("continue", threadId=self._thread))

    def _set_breakpoints(self, file: Path, *lines: int) -> Message:
        breakpoints = [{"line": line} for line in lines]
        return self._response(self._send("setBreakpoints", source={"path": str(file)}, breakpoints=breakpoints))

    def _send(self, command: str, **arguments: Any) -> int:
        self._sent += 1
        request = {"seq": self._sent, "type": "request", "command": command, "arguments": arguments}
        body = json.dumps(request).encode()
        self._stream.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        self._stream.flush()
        return self._sent

    def _response(self, request: int) -> Message:
        response = self._take(lambda message: message.get("request_seq") == request)
        assert response["success"], response
        body: Message = response.get("body", {})
        return body

    def _event(self, name: str) -> Message:
        return self._take(lambda message: message.get("event") == name)

    def _take(self, wanted: Callable[[Message], bool]) -> Message:
        while True:
            for message in self._received:
                if wanted(message):
                    self._received.remove(message)
                    return message
            self._received.append(self._receive())

    def _receive(self) -> Message:
        length = 0
        while line := self._stream.readline().strip():
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        if not length:
            raise ConnectionError("the debugger closed the connection")
        message: Message = json.loads(self._stream.read(length))
        return message
