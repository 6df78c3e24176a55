"""What Schemathesis can't know of the service: who is logged in, and what the formats of the document mean."""

import base64
import os
from itertools import count
from typing import Any

import httpx
import schemathesis
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from service.errors import InvalidUsername
from service.usernames import parse
from tests.server import CLIENT_SECRET, claims_of

Case = schemathesis.Case[Any]
PASSWORD = "correct horse battery"
_numbers = count()
_http = httpx.Client(base_url=os.environ["SERVICE_URL"], timeout=30)


def _is_username(text: str) -> bool:
    try:
        parse(text)
    except InvalidUsername:
        return False
    return True


def _passwords() -> SearchStrategy[str]:
    texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=8, max_size=72)
    return texts.filter(lambda text: len(text.encode()) <= 72)


schemathesis.openapi.format(
    "username", st.text(st.characters(codec="utf-8"), min_size=1, max_size=8).filter(_is_username)
)
schemathesis.openapi.format("new-password", _passwords())


class Login:
    """A user of this run, logged in anew when something ended the session, and another one when nothing else helps."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self.credentials = {"username": "", "password": PASSWORD}
        self.tokens = {"token": "none"}

    def renew(self) -> dict[str, str]:
        bearer = {"Authorization": f"Bearer {self.tokens['token']}"}
        if _http.get("/auth/sessions", headers=bearer).status_code == 200:
            return self.tokens
        if not self.credentials["username"]:
            self.credentials["username"] = f"fuzz-{os.getpid()}-{next(_numbers)}"
            _http.post("/auth/signup", json=self.credentials).raise_for_status()
        self.tokens = _http.post("/auth/login", json=self.credentials).raise_for_status().json()
        return self.tokens


login = Login()


@schemathesis.auth(refresh_interval=None).skip_for(path="/auth/introspect")
class BearerAuth:
    def get(self, case: Case, context: schemathesis.AuthContext) -> str:
        return login.renew()["token"]

    def set(self, case: Case, data: str, context: schemathesis.AuthContext) -> None:
        case.headers["Authorization"] = f"Bearer {data}"


@schemathesis.auth(refresh_interval=None).apply_to(path="/auth/introspect")
class ClientAuth:
    def get(self, case: Case, context: schemathesis.AuthContext) -> str:
        return base64.b64encode(f"fuzz:{CLIENT_SECRET}".encode()).decode()

    def set(self, case: Case, data: str, context: schemathesis.AuthContext) -> None:
        case.headers["Authorization"] = f"Basic {data}"


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: Case, kwargs: dict[str, Any]) -> None:
    """Puts something true into about half of what is well-formed, so that the endpoints do what they are for."""
    label = case.operation.label
    if case.meta is None or not case.meta.generation.mode.is_positive or label == "POST /auth/signup":
        return
    tokens = login.renew()
    true = {**login.credentials, **tokens, "currentPassword": PASSWORD, "id": claims_of(tokens["token"])["sid"]}
    for members in (case.path_parameters, case.body):
        if isinstance(members, dict):
            members.update({name: true[name] for name, value in members.items() if name in true and _is_even(value)})


def _is_even(value: object) -> bool:
    return len(str(value)) % 2 == 0


@schemathesis.hook
def after_call(context: schemathesis.HookContext, case: Case, response: schemathesis.Response) -> None:
    """Leaves a user to himself who has another password by now, or none."""
    if case.operation.label in {"PUT /auth/password", "DELETE /auth/account"} and response.status_code == 200:
        login.forget()
