"""Every scenario under the name that --only takes, in the order of a run."""

from bench import ended, guessing, isolation, measure, operation, pace, scale

SCENARIOS = {
    "verify": measure.verify,
    "refresh": measure.refresh,
    "pace": pace.pace,
    "login": measure.login,
    "signup": measure.signup,
    "isolation": isolation.isolation,
    "crowd": scale.crowd,
    "workers": scale.workers,
    "guessing": guessing.guessing,
    "ended": ended.ended,
    "connections": scale.connections,
    "rows": scale.rows,
    "purge": operation.purge,
    "process": scale.process,
    "operation": operation.operation,
}
