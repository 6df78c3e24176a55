"""Why a request is refused.

    AuthError
    ├── InvalidInput            something in the request has to be changed
    │   ├── InvalidUsername
    │   └── InvalidPassword
    ├── UsernameTaken
    ├── InvalidCredentials      unknown user or wrong password; never said which
    ├── TooManyAttempts         the password was not even compared
    ├── InvalidClient           who wants to introspect has no right to
    ├── SessionNotFound         no session of this user has the id
    ├── InvalidToken            not a token of ours, altered, expired or of the other type
    │   ├── MissingToken
    │   └── SessionRevoked      a true token whose session has ended
    └── Unavailable             nothing wrong with the request; try again
        ├── Overloaded
        ├── DatabaseUnavailable
        └── StaleRevocations    verify may not trust what it last knew of ended sessions

Each class has a stable machine `code`; `str(error)` is a sentence that may be shown to anybody.
The HTTP status belongs to `service.web.errors`.
"""

from typing import ClassVar


class AuthError(Exception):
    """A refusal; `sentence` replaces the class's own when it can say more without giving anything away.

    `retry_after` is when it is worth it to try again, in seconds; None where it never is.
    """

    code: ClassVar[str]
    sentence: ClassVar[str]
    retry_after: int | None = None

    def __init__(self, sentence: str | None = None, *, retry_after: int | None = None) -> None:
        super().__init__(sentence or self.sentence)
        if retry_after is not None:
            self.retry_after = retry_after


class InvalidInput(AuthError):
    code = "invalid_input"
    sentence = "The request is not acceptable."


class InvalidUsername(InvalidInput):
    code = "invalid_username"
    sentence = "This username is not acceptable."


class InvalidPassword(InvalidInput):
    code = "invalid_password"
    sentence = "This password is not acceptable."


class UsernameTaken(AuthError):
    code = "username_taken"
    sentence = "This username is taken."


class InvalidCredentials(AuthError):
    code = "invalid_credentials"
    sentence = "Wrong username or password."


class TooManyAttempts(AuthError):
    code = "too_many_attempts"
    sentence = "Too many attempts; try again later."
    retry_after = 1


class InvalidClient(AuthError):
    code = "invalid_client"
    sentence = "The client has to authenticate with its secret."


class SessionNotFound(AuthError):
    code = "session_not_found"
    sentence = "You have no such session."


class InvalidToken(AuthError):
    code = "invalid_token"
    sentence = "The token is invalid or has expired."


class MissingToken(InvalidToken):
    code = "missing_token"
    sentence = "An Authorization header with a Bearer token is required."


class SessionRevoked(InvalidToken):
    code = "session_revoked"
    sentence = "The session has ended; log in again."


class Unavailable(AuthError):
    code = "unavailable"
    sentence = "The service cannot answer right now; try again."
    retry_after = 1


class Overloaded(Unavailable):
    code = "overloaded"
    sentence = "The service is busy; try again."


class DatabaseUnavailable(Unavailable):
    code = "database_unavailable"
    sentence = "The service cannot reach its data right now; try again."


class StaleRevocations(Unavailable):
    code = "revocations_stale"
    sentence = "The service cannot tell right now which sessions have ended; try again."
