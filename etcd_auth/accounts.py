"""The users and roles of an etcd, created and corrected through its Auth service.

Everything can be done again at any time, and by the sidecars of several members at once.
https://etcd.io/docs/v3.6/op-guide/authentication/rbac/
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc

from etcd_auth.config import AuthSettings
from service_kit.files import Reader
from service_kit.registry.etcd import Cause, etcdrpc, translated

TIMEOUT = 5.0
"""Seconds that a call may take."""


class Unavailable(Exception):  # noqa: N818  # a state of etcd, not an error of ours
    """etcd does not answer, or is not ready; the text is for operators."""


class Refused(Exception):  # noqa: N818  # as above
    """etcd refused a change; the text gives the reason, for operators, and contains no password."""


@dataclass(frozen=True)
class _Account:
    name: str
    password: Callable[[], str]
    """Returns the newest."""
    writes: bool


class Accounts:
    """What an etcd should have: root, a registrar who writes and a resolver who reads, both under the prefix alone."""

    def __init__(self, connect: Callable[[], grpc.Channel], settings: AuthSettings, reader: Reader) -> None:
        """`connect` is called for each look at etcd, so that renewed certificates are used.

        Raises:
            UnusableFileError: when the file of a password cannot be used.
        """
        self._connect = connect
        self._stub: Any = None
        self._root_password = settings.root_password.get_secret_value()
        registrar = settings.secret("registrar_password", reader) or str
        resolver = settings.secret("resolver_password", reader) or str
        self._accounts = (
            _Account(settings.registrar_username, registrar, writes=True),
            _Account(settings.resolver_username, resolver, writes=False),
        )
        key = f"{settings.registry_prefix}/".encode()
        self._range = (key, key[:-1] + bytes([key[-1] + 1]))
        self._metadata: tuple[tuple[str, str], ...] = ()
        self.auth_is_on = False
        """Whether authentication was on when etcd was last asked."""

    def reconcile(self) -> list[str]:
        """Create what is missing, correct what differs, enable authentication; returns the changes as messages.

        Raises:
            Unavailable: when etcd is unavailable, or not in a state to be changed.
            Refused: when the root password is not the one that etcd has.
        """
        with self._connect() as channel:
            self._stub = etcdrpc.AuthStub(channel)
            done = list(self._reconcile())
            if not self.auth_is_on:
                self._call(self._stub.AuthEnable, etcdrpc.AuthEnableRequest())
                self.auth_is_on = True
                done.append("authentication was turned on")
        return done

    def _reconcile(self) -> Iterator[str]:
        self._metadata = ()
        token = self._token("root", self._root_password)
        if token is None and self.auth_is_on:
            raise Refused("etcd has another root password than ROOT_PASSWORD; restore the Secret that it was made with")
        self._metadata = (("token", token),) if token else ()
        if not self.auth_is_on:
            yield from self._make_root()
        for account in self._accounts:
            yield from self._make_role(account)
            yield from self._make_user(account)

    def _make_root(self) -> Iterator[str]:
        if self._call(self._stub.RoleAdd, etcdrpc.AuthRoleAddRequest(name="root"), "role name already exists"):
            yield "role root was made"
        yield from self._make_login("root", self._root_password)
        yield from self._grant("root", "root")

    def _make_role(self, account: _Account) -> Iterator[str]:
        if self._call(self._stub.RoleAdd, etcdrpc.AuthRoleAddRequest(name=account.name), "role name already exists"):
            yield f"role {account.name} was made"
        grant = etcdrpc.AuthRoleGrantPermissionRequest(name=account.name)
        grant.perm.key, grant.perm.range_end = self._range
        grant.perm.permType = grant.perm.READWRITE if account.writes else grant.perm.READ
        held = self._call(self._stub.RoleGet, etcdrpc.AuthRoleGetRequest(role=account.name)).perm
        for permission in held:
            if permission != grant.perm:
                revoke = etcdrpc.AuthRoleRevokePermissionRequest(
                    role=account.name, key=permission.key, range_end=permission.range_end
                )
                self._call(self._stub.RoleRevokePermission, revoke, "permission is not granted")
                yield f"role {account.name} lost a permission that is not its own"
        if grant.perm not in held:
            self._call(self._stub.RoleGrantPermission, grant)
            yield f"role {account.name} may {'write' if account.writes else 'read'} under the prefix"

    def _make_user(self, account: _Account) -> Iterator[str]:
        password = account.password()
        if not (self.auth_is_on and self._token(account.name, password)):
            yield from self._make_login(account.name, password)
        for role in self._roles(account.name):
            if role != account.name:
                revoke = etcdrpc.AuthUserRevokeRoleRequest(name=account.name, role=role)
                self._call(self._stub.UserRevokeRole, revoke, "role is not granted")
                yield f"user {account.name} lost the role {role}, which is not its own"
        yield from self._grant(account.name, account.name)

    def _make_login(self, name: str, password: str) -> Iterator[str]:
        add = etcdrpc.AuthUserAddRequest(name=name, password=password)
        if self._call(self._stub.UserAdd, add, "user name already exists"):
            yield f"user {name} was made"
        else:
            change = etcdrpc.AuthUserChangePasswordRequest(name=name, password=password)
            self._call(self._stub.UserChangePassword, change)
            yield f"user {name} was given its password"

    def _grant(self, user: str, role: str) -> Iterator[str]:
        if role not in self._roles(user):
            self._call(self._stub.UserGrantRole, etcdrpc.AuthUserGrantRoleRequest(user=user, role=role))
            yield f"user {user} was given the role {role}"

    def _roles(self, user: str) -> list[str]:
        return list(self._call(self._stub.UserGet, etcdrpc.AuthUserGetRequest(name=user)).roles)

    def _token(self, name: str, password: str) -> str | None:
        """The token that etcd gives for a password; None when it gives none. Learns whether authentication is on."""
        request = etcdrpc.AuthenticateRequest(name=name, password=password)
        try:
            token = str(self._stub.Authenticate(request, timeout=TIMEOUT).token)
        except grpc.RpcError as error:
            details = error.details() or ""
            if "authentication is not enabled" in details:
                self.auth_is_on = False
                return None
            if "authentication failed" in details or "user name not found" in details:
                self.auth_is_on = True
                return None
            raise _translated(error) from error
        self.auth_is_on = True
        return token

    def _call(self, method: Any, request: Any, unless: str = "") -> Any:
        """Return the response, or None when etcd answers with the error `unless`: nothing had to change."""
        try:
            return method(request, timeout=TIMEOUT, metadata=self._metadata)
        except grpc.RpcError as error:
            if unless and unless in (error.details() or ""):
                return None
            if not self._metadata and "permission denied" in (error.details() or ""):
                # Another sidecar has turned authentication on; etcd looks for the certificate's name among its users.
                raise Unavailable("etcd is not ready to be changed: authentication has just been turned on") from error
            raise _translated(error) from error


def _translated(error: grpc.RpcError) -> Exception:
    problem = translated(error)
    if problem.cause is Cause.UNREACHABLE:
        return Unavailable("etcd does not answer")
    if problem.cause in {Cause.TOKEN, Cause.NO_CREDENTIALS}:  # a member that has just started says these
        return Unavailable(f"etcd is not ready to be changed: {problem.details}")
    return Refused(f"etcd refuses: {problem.details}")
