"""What schemathesis has to know beside the contract: loaded by it through SCHEMATHESIS_HOOKS."""

import schemathesis
from hypothesis import strategies as st

from protos.user.v1.contract import is_bcrypt_password

schemathesis.openapi.format(
    "bcrypt-password",
    st.text(st.characters(exclude_categories=["Cs"]), min_size=6, max_size=32).filter(is_bcrypt_password),
)
