"""What a handler finds in `request.state`."""

from typing import TypedDict

from service.account import Account
from service.auth import Auth
from service.health import Health
from service.introspection import Introspection


class State(TypedDict):
    """What the lifespan hands to each request."""

    auth: Auth
    account: Account
    introspection: Introspection
    health: Health
