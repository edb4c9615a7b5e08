"""The user service, on a machine where hashes of its cost do not end."""

import logging
import sys
import threading

import bcrypt

from user_svc.__main__ import main

_hashpw = bcrypt.hashpw


def hashpw(password: bytes, salt: bytes) -> bytes:
    if salt.startswith(b"$2b$10$"):
        logging.getLogger(__name__).warning("a hash that does not end")
        threading.Event().wait()
    return _hashpw(password, salt)


if __name__ == "__main__":
    bcrypt.hashpw = hashpw
    sys.exit(main())
