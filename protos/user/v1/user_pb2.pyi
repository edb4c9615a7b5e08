from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RegisterRequest(_message.Message):
    __slots__ = ("username", "password")
    USERNAME_FIELD_NUMBER: _ClassVar[int]
    PASSWORD_FIELD_NUMBER: _ClassVar[int]
    username: str
    password: str
    def __init__(self, username: _Optional[str] = ..., password: _Optional[str] = ...) -> None: ...

class RegisterResponse(_message.Message):
    __slots__ = ("code", "msg", "user_id")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MSG_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    code: int
    msg: str
    user_id: int
    def __init__(self, code: _Optional[int] = ..., msg: _Optional[str] = ..., user_id: _Optional[int] = ...) -> None: ...

class Device(_message.Message):
    __slots__ = ("user_id", "generation", "id")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    user_id: int
    generation: int
    id: bytes
    def __init__(self, user_id: _Optional[int] = ..., generation: _Optional[int] = ..., id: _Optional[bytes] = ...) -> None: ...

class LoginRequest(_message.Message):
    __slots__ = ("username", "password", "device")
    USERNAME_FIELD_NUMBER: _ClassVar[int]
    PASSWORD_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    username: str
    password: str
    device: Device
    def __init__(self, username: _Optional[str] = ..., password: _Optional[str] = ..., device: _Optional[_Union[Device, _Mapping]] = ...) -> None: ...

class LoginResponse(_message.Message):
    __slots__ = ("code", "msg", "user_id", "username", "generation", "disabled")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MSG_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    USERNAME_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    DISABLED_FIELD_NUMBER: _ClassVar[int]
    code: int
    msg: str
    user_id: int
    username: str
    generation: int
    disabled: bool
    def __init__(self, code: _Optional[int] = ..., msg: _Optional[str] = ..., user_id: _Optional[int] = ..., username: _Optional[str] = ..., generation: _Optional[int] = ..., disabled: _Optional[bool] = ...) -> None: ...

class ChangePasswordRequest(_message.Message):
    __slots__ = ("user_id", "current_password", "new_password", "session_id", "device")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    CURRENT_PASSWORD_FIELD_NUMBER: _ClassVar[int]
    NEW_PASSWORD_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    user_id: int
    current_password: str
    new_password: str
    session_id: bytes
    device: Device
    def __init__(self, user_id: _Optional[int] = ..., current_password: _Optional[str] = ..., new_password: _Optional[str] = ..., session_id: _Optional[bytes] = ..., device: _Optional[_Union[Device, _Mapping]] = ...) -> None: ...

class ChangePasswordResponse(_message.Message):
    __slots__ = ("code", "msg", "generation")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MSG_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    code: int
    msg: str
    generation: int
    def __init__(self, code: _Optional[int] = ..., msg: _Optional[str] = ..., generation: _Optional[int] = ...) -> None: ...

class DeleteAccountRequest(_message.Message):
    __slots__ = ("user_id", "password", "device")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    PASSWORD_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    user_id: int
    password: str
    device: Device
    def __init__(self, user_id: _Optional[int] = ..., password: _Optional[str] = ..., device: _Optional[_Union[Device, _Mapping]] = ...) -> None: ...

class DeleteAccountResponse(_message.Message):
    __slots__ = ("code", "msg")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MSG_FIELD_NUMBER: _ClassVar[int]
    code: int
    msg: str
    def __init__(self, code: _Optional[int] = ..., msg: _Optional[str] = ...) -> None: ...

class OpenSessionRequest(_message.Message):
    __slots__ = ("session_id", "user_id", "generation", "device")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    session_id: bytes
    user_id: int
    generation: int
    device: str
    def __init__(self, session_id: _Optional[bytes] = ..., user_id: _Optional[int] = ..., generation: _Optional[int] = ..., device: _Optional[str] = ...) -> None: ...

class OpenSessionResponse(_message.Message):
    __slots__ = ("code", "msg", "serial", "refresh_expires_in")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MSG_FIELD_NUMBER: _ClassVar[int]
    SERIAL_FIELD_NUMBER: _ClassVar[int]
    REFRESH_EXPIRES_IN_FIELD_NUMBER: _ClassVar[int]
    code: int
    msg: str
    serial: int
    refresh_expires_in: int
    def __init__(self, code: _Optional[int] = ..., msg: _Optional[str] = ..., serial: _Optional[int] = ..., refresh_expires_in: _Optional[int] = ...) -> None: ...

class RefreshSessionRequest(_message.Message):
    __slots__ = ("session_id", "serial")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    SERIAL_FIELD_NUMBER: _ClassVar[int]
    session_id: bytes
    serial: int
    def __init__(self, session_id: _Optional[bytes] = ..., serial: _Optional[int] = ...) -> None: ...

class RefreshSessionResponse(_message.Message):
    __slots__ = ("code", "msg", "refusal", "serial", "user_id", "username", "generation", "refresh_expires_in")
    class Refusal(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        REFUSAL_UNSPECIFIED: _ClassVar[RefreshSessionResponse.Refusal]
        UNKNOWN: _ClassVar[RefreshSessionResponse.Refusal]
        EXPIRED: _ClassVar[RefreshSessionResponse.Refusal]
        ENDED: _ClassVar[RefreshSessionResponse.Refusal]
        PASSWORD_CHANGED: _ClassVar[RefreshSessionResponse.Refusal]
        REUSED: _ClassVar[RefreshSessionResponse.Refusal]
        DISABLED: _ClassVar[RefreshSessionResponse.Refusal]
    REFUSAL_UNSPECIFIED: RefreshSessionResponse.Refusal
    UNKNOWN: RefreshSessionResponse.Refusal
    EXPIRED: RefreshSessionResponse.Refusal
    ENDED: RefreshSessionResponse.Refusal
    PASSWORD_CHANGED: RefreshSessionResponse.Refusal
    REUSED: RefreshSessionResponse.Refusal
    DISABLED: RefreshSessionResponse.Refusal
    CODE_FIELD_NUMBER: _ClassVar[int]
    MSG_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    SERIAL_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    USERNAME_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    REFRESH_EXPIRES_IN_FIELD_NUMBER: _ClassVar[int]
    code: int
    msg: str
    refusal: RefreshSessionResponse.Refusal
    serial: int
    user_id: int
    username: str
    generation: int
    refresh_expires_in: int
    def __init__(self, code: _Optional[int] = ..., msg: _Optional[str] = ..., refusal: _Optional[_Union[RefreshSessionResponse.Refusal, str]] = ..., serial: _Optional[int] = ..., user_id: _Optional[int] = ..., username: _Optional[str] = ..., generation: _Optional[int] = ..., refresh_expires_in: _Optional[int] = ...) -> None: ...

class EndSessionRequest(_message.Message):
    __slots__ = ("session_id", "access_token", "user_id")
    class AccessToken(_message.Message):
        __slots__ = ("id", "expires_at")
        ID_FIELD_NUMBER: _ClassVar[int]
        EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
        id: bytes
        expires_at: int
        def __init__(self, id: _Optional[bytes] = ..., expires_at: _Optional[int] = ...) -> None: ...
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    ACCESS_TOKEN_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    session_id: bytes
    access_token: EndSessionRequest.AccessToken
    user_id: int
    def __init__(self, session_id: _Optional[bytes] = ..., access_token: _Optional[_Union[EndSessionRequest.AccessToken, _Mapping]] = ..., user_id: _Optional[int] = ...) -> None: ...

class EndSessionResponse(_message.Message):
    __slots__ = ("code", "msg")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MSG_FIELD_NUMBER: _ClassVar[int]
    code: int
    msg: str
    def __init__(self, code: _Optional[int] = ..., msg: _Optional[str] = ...) -> None: ...

class EndAllSessionsRequest(_message.Message):
    __slots__ = ("user_id",)
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    user_id: int
    def __init__(self, user_id: _Optional[int] = ...) -> None: ...

class EndAllSessionsResponse(_message.Message):
    __slots__ = ("code", "msg", "generation")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MSG_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    code: int
    msg: str
    generation: int
    def __init__(self, code: _Optional[int] = ..., msg: _Optional[str] = ..., generation: _Optional[int] = ...) -> None: ...

class ListSessionsRequest(_message.Message):
    __slots__ = ("user_id",)
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    user_id: int
    def __init__(self, user_id: _Optional[int] = ...) -> None: ...

class ListSessionsResponse(_message.Message):
    __slots__ = ("sessions",)
    class Session(_message.Message):
        __slots__ = ("session_id", "device", "created_at", "used_at", "expires_at")
        SESSION_ID_FIELD_NUMBER: _ClassVar[int]
        DEVICE_FIELD_NUMBER: _ClassVar[int]
        CREATED_AT_FIELD_NUMBER: _ClassVar[int]
        USED_AT_FIELD_NUMBER: _ClassVar[int]
        EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
        session_id: bytes
        device: str
        created_at: int
        used_at: int
        expires_at: int
        def __init__(self, session_id: _Optional[bytes] = ..., device: _Optional[str] = ..., created_at: _Optional[int] = ..., used_at: _Optional[int] = ..., expires_at: _Optional[int] = ...) -> None: ...
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    sessions: _containers.RepeatedCompositeFieldContainer[ListSessionsResponse.Session]
    def __init__(self, sessions: _Optional[_Iterable[_Union[ListSessionsResponse.Session, _Mapping]]] = ...) -> None: ...

class ListRevocationsRequest(_message.Message):
    __slots__ = ("after_at", "after_id")
    AFTER_AT_FIELD_NUMBER: _ClassVar[int]
    AFTER_ID_FIELD_NUMBER: _ClassVar[int]
    after_at: int
    after_id: int
    def __init__(self, after_at: _Optional[int] = ..., after_id: _Optional[int] = ...) -> None: ...

class ListRevocationsResponse(_message.Message):
    __slots__ = ("revocations", "more", "now")
    class Revocation(_message.Message):
        __slots__ = ("at", "id", "user", "ended_id", "expires_at")
        AT_FIELD_NUMBER: _ClassVar[int]
        ID_FIELD_NUMBER: _ClassVar[int]
        USER_FIELD_NUMBER: _ClassVar[int]
        ENDED_ID_FIELD_NUMBER: _ClassVar[int]
        EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
        at: int
        id: int
        user: ListRevocationsResponse.User
        ended_id: bytes
        expires_at: int
        def __init__(self, at: _Optional[int] = ..., id: _Optional[int] = ..., user: _Optional[_Union[ListRevocationsResponse.User, _Mapping]] = ..., ended_id: _Optional[bytes] = ..., expires_at: _Optional[int] = ...) -> None: ...
    class User(_message.Message):
        __slots__ = ("user_id", "generation", "disabled")
        USER_ID_FIELD_NUMBER: _ClassVar[int]
        GENERATION_FIELD_NUMBER: _ClassVar[int]
        DISABLED_FIELD_NUMBER: _ClassVar[int]
        user_id: int
        generation: int
        disabled: bool
        def __init__(self, user_id: _Optional[int] = ..., generation: _Optional[int] = ..., disabled: _Optional[bool] = ...) -> None: ...
    REVOCATIONS_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    NOW_FIELD_NUMBER: _ClassVar[int]
    revocations: _containers.RepeatedCompositeFieldContainer[ListRevocationsResponse.Revocation]
    more: bool
    now: int
    def __init__(self, revocations: _Optional[_Iterable[_Union[ListRevocationsResponse.Revocation, _Mapping]]] = ..., more: _Optional[bool] = ..., now: _Optional[int] = ...) -> None: ...
