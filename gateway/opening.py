"""Opens upstreams: how each replica or remote server is connected to."""

import os
from functools import partial

from gateway.authorization.tokens import HeldTokens
from gateway.authorization.upstream import AuthorizedUpstream
from gateway.headers import target_of
from gateway.upstreams.http import Http, Limits
from gateway.upstreams.legs import Spawn
from gateway.upstreams.upstream import Upstream
from mcp_platform.contracts.deployments import Driver, Route, UpstreamAddress
from mcp_platform.contracts.loads import Pool
from mcp_platform.security.sealing import Sealer
from mcp_platform.settings import Settings
from mcp_platform.variables import Variables
from storage.secrets import SecretValues
from storage.stores import Stores


class Opener:
    """Has what upstreams share: connections, limits, secrets, and tokens for servers that want some."""

    def __init__(self, settings: Settings, stores: Stores, sealer: Sealer, spawn: Spawn) -> None:
        own = settings.gateway
        self._private = settings.private_addresses
        self._documents = stores.documents
        self._spawn = spawn
        environment = Variables(os.environ, settings.replicas.exposed_environment)
        self.secrets = SecretValues(stores.database, sealer, environment)
        self.limits = Limits(own.connect_timeout, own.call_timeout, own.max_response_bytes)
        self.held = HeldTokens(stores.database, sealer)
        self.http = Http(own.max_connections)

    def open(self, route: Route, address: UpstreamAddress) -> Upstream:
        """Give the connection to a replica; nothing is sent before a request is."""
        target = partial(target_of, self._documents, self.secrets, route, address)
        own = address.driver is not Driver.REMOTE
        private = own or self._private
        if not own and address.server is not None:
            return AuthorizedUpstream(
                self.held, route, address, self.http, target, self.limits, self._spawn, private=private
            )
        return Upstream(address, self.http, target, self.limits, self._spawn, private=private)

    def pool(self) -> Pool:
        """Tell how many connections there are."""
        return Pool(open=self.http.open, idle=self.http.idle, most=self.http.most)
