"""What a handler finds in `request.state`."""

from typing import TypedDict

from service.account import Account
from service.auth import Auth
from service.health import Health


class State(TypedDict):
    """What the lifespan hands to each request."""

    auth: Auth
    account: Account
    health: Health
