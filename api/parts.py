"""What the API's routes work with; built once by the application's lifespan."""

from dataclasses import dataclass

from temporalio.client import Client

from api.admissions import Admissions
from api.audit_recorder import AuditRecorder
from api.listeners import Listeners
from api.oauth.clients import Clients
from api.status_hub import StatusHub
from api.task_reader import TaskReader
from gateway.app import Gateway
from gateway.authorization.advertised import Advertised
from gateway.credentials import Credentials
from gateway.discovery.known_servers import KnownServers
from gateway.limits import RateLimits
from mcp_platform.security.sealing import Sealer
from mcp_platform.security.tokens import Tokens
from mcp_platform.settings import Settings
from storage.knowledge.library import Library
from storage.logs import LogReader
from storage.stores import Stores


@dataclass(frozen=True)
class Parts:
    """Clients and services of one API process."""

    settings: Settings
    stores: Stores
    temporal: Client
    tokens: Tokens
    sealer: Sealer
    credentials: Credentials
    limits: RateLimits
    audit: AuditRecorder
    tasks: TaskReader
    hub: StatusHub
    listeners: Listeners
    admissions: Admissions
    gateway: Gateway | None
    """Present in embedded mode, where one process is API and gateway."""
    knowledge: Library
    known_servers: KnownServers
    logs: LogReader
    oauth_clients: Clients

    async def oauth_endpoints(self) -> frozenset[str]:
        """Name the endpoints that are signed in to by OAuth, as they are now."""
        smart = self.settings.oauth.advertise_smart
        return await Advertised(self.stores.database, smart).refresh()
