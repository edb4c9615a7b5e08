"""From the path of a request to the operations there."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import unquote

from starlette.types import Scope

from gateway_svc.contract.operation import Operation

_PARAMETER = re.compile(r"\{([^{}/]+)\}")
_NO_VALUES: Mapping[str, bytes] = {}


@dataclass(slots=True)
class Route:
    """A path template and its operations."""

    template: str
    operations: dict[str, Operation] = field(default_factory=dict)
    """By method; HEAD is answered as GET is (RFC 9110, section 9.3.2)."""

    @property
    def allow(self) -> str:
        """Value of the header Allow (RFC 9110, section 10.2.1)."""
        return ", ".join(sorted({*self.operations, "OPTIONS"}))


class Match(NamedTuple):
    """A route that matches a path."""

    route: Route
    values: Mapping[str, bytes]
    """The segments that stand for the path's parameters, still encoded."""


class Routes:
    """The routes of a contract. A path without parameters comes before one with them (OpenAPI 3.0.3, Paths Object).

    An encoded slash (%2F) separates no segments (RFC 3986, section 2.2).
    """

    def __init__(self) -> None:
        self._fixed: dict[bytes, Match] = {}
        """By the path as it is sent. A client that encodes characters without need is served by `_templates`."""
        self._templates: dict[int, list[tuple[Sequence[str | None], Route]]] = {}
        self._names: dict[str, list[str]] = {}

    def add(self, operations: Iterable[Operation]) -> None:
        """Add operations.

        Raises:
            ValueError: when a parameter is only a part of a segment, or the path names others than are declared.
        """
        routes: dict[str, Route] = {}
        for operation in operations:
            route = routes.setdefault(operation.route, Route(operation.route))
            route.operations[operation.method] = operation
        for template, route in routes.items():
            if "GET" in route.operations:
                route.operations.setdefault("HEAD", route.operations["GET"])
            self._add_template(template, route)
            if "{" not in template:
                self._fixed[template.encode()] = Match(route, _NO_VALUES)

    def find(self, scope: Scope) -> Match | None:
        """Return the route for the path of a request."""
        return self._fixed.get(scope.get("raw_path")) or self._find_template(scope)  # type: ignore[arg-type]  # or None

    def _add_template(self, template: str, route: Route) -> None:
        names = []
        segments: list[str | None] = []
        for segment in template.split("/"):
            parameter = _PARAMETER.fullmatch(segment)
            if parameter is None and "{" in segment:
                raise ValueError(f"{template}: the gateway supports parameters that are a whole segment of the path")
            names += [parameter[1]] if parameter else []
            segments.append(None if parameter else segment)
        for operation in route.operations.values():
            declared = {each.name for each in operation.parameters if each.place == "path"}
            if declared != set(names):
                raise ValueError(
                    f"{operation.method} {template}: the parameters of the path must be those in its braces"
                )
        same = self._templates.setdefault(len(segments), [])
        same.append((segments, route))
        # Where two fit, the one whose first difference is a fixed segment is the more specific one.
        same.sort(key=lambda each: [segment is None for segment in each[0]])
        self._names[template] = names

    def _find_template(self, scope: Scope) -> Match | None:
        raw: list[bytes] = (scope.get("raw_path") or scope["path"].encode()).split(b"/")
        decoded = [unquote(segment.decode("latin-1")) for segment in raw]
        for segments, route in self._templates.get(len(raw), ()):
            values = []
            for expected, segment, encoded in zip(segments, decoded, raw, strict=True):
                if expected is None and encoded:
                    values.append(encoded)
                elif expected != segment:
                    break
            else:
                return Match(route, dict(zip(self._names[route.template], values, strict=True)))
        return None
