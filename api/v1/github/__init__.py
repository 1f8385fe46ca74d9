"""`/api/v1/github`: connections to repositories."""

from api.v1.github import connecting, disconnecting, pushing, reading, syncing, webhook

ROUTERS = (
    connecting.router,
    reading.router,
    disconnecting.router,
    syncing.router,
    pushing.router,
    webhook.router,
)
