"""A client of openapi-python-client: python generated.py URL USERNAME."""

import json
import sys

from video_platform_user_api_client import AuthenticatedClient, Client
from video_platform_user_api_client.api.users import login, profile, register
from video_platform_user_api_client.models import (
    BadRequestError,
    Credentials,
    LoggedIn,
    Profile,
    Registered,
    WrongPassword,
)

url, username = sys.argv[1:]
client = Client(url)
credentials = Credentials(username=username, password="password123")

registered = register.sync_detailed(client=client, body=credentials)
logged_in = login.sync_detailed(client=client, body=credentials)
wrong = login.sync_detailed(client=client, body=Credentials(username=username, password="wrongpassword"))
bad = register.sync_detailed(client=client, body=Credentials(username="ab", password="password123"))
assert isinstance(logged_in.parsed, LoggedIn)
mine = profile.sync_detailed(client=AuthenticatedClient(url, token=logged_in.parsed.token))

assert isinstance(registered.parsed, Registered)
assert isinstance(mine.parsed, Profile)
assert isinstance(wrong.parsed, WrongPassword)
assert isinstance(bad.parsed, BadRequestError)
answers = {
    "register": (registered.status_code, registered.parsed.to_dict()),
    "login": (logged_in.status_code, logged_in.parsed.to_dict()),
    "profile": (mine.status_code, mine.parsed.to_dict()),
    "wrongPassword": (wrong.status_code, wrong.parsed.to_dict()),
    "badRequest": (bad.status_code, bad.parsed.to_dict()),
}
print(json.dumps(answers))
