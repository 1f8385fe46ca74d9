"""Settings of the data plane: `MCP_PLATFORM_GATEWAY__<NAME>`."""

from pydantic import BaseModel, Field

from mcp_platform.contracts.balancing import Algorithm


class GatewaySettings(BaseModel):
    """The data plane; times in seconds."""

    host: str = "127.0.0.1"
    port: int = Field(8001, ge=1, le=65535)
    public_url: str | None = None
    """The address before `/mcp`; the API's own in embedded mode."""
    max_body_bytes: int = Field(4_194_304, gt=0)
    max_response_bytes: int = Field(16_777_216, gt=0)
    call_timeout: float = Field(60.0, gt=0)
    connect_timeout: float = Field(5.0, gt=0)
    private_addresses: bool | None = None
    """Whether remote servers may be at loopback or private addresses: yes in embedded mode unless told."""
    refresh_interval: float = Field(30.0, gt=0)
    """How often all routes are read anew, in case a message was lost."""
    flush_interval: float = Field(2.0, gt=0)
    """How often the figures and the journal of calls are written."""
    max_connections: int = Field(1000, gt=0)
    """How many connections to servers each gateway opens at most; may be changed while running."""
    batch_calls: int = Field(50, gt=0)
    """How many calls one batch may have."""
    batch_parallel: int = Field(10, gt=0)
    """How many of these are under way at once."""
    journal_bound: int = Field(50_000, gt=0)
    """How many calls may wait for their line in the journal, while the database is away."""
    journal_days: int = Field(30, ge=0)
    """After how many days lines of the journal are removed; 0 keeps all."""
    wake_timeout: float = Field(30.0, gt=0)
    """How long a call may wait for a deployment that is scaled to zero."""
    recovery_wait: float = Field(5.0, ge=0)
    """How long a call may wait for a successor when all replicas have just gone."""
    max_waiting: int = Field(100, gt=0)
    """How many calls of one deployment may wait at once; more are refused with 503."""
    balancing: Algorithm = Algorithm.WEIGHTED_ROUND_ROBIN
    """How calls are spread over replicas, until it is set while running; an MCP's policy may name another."""
    max_concurrency: int = Field(1000, gt=0)
    """Requests to one MCP at once, in each gateway; its policy may say otherwise."""
    max_concurrency_per_caller: int | None = Field(None, gt=0)
    """The same of one credential; no bound of its own unless told."""
    max_concurrency_total: int = Field(4000, gt=0)
    """Requests to all MCPs at once, in each gateway."""
    max_queue: int = Field(200, ge=0)
    """Requests that wait for a place at one MCP, or at the gateway; more are refused with 503."""
    queue_timeout: float = Field(5.0, ge=0)
    """How long they wait."""
    session_idle_timeout: float = Field(1800.0, gt=0)
    """After how long without use the session of a client of the older protocol ends."""
    most_sessions: int = Field(50_000, gt=0)
    """How many such sessions there may be at once, over all gateway processes."""
    most_sessions_of_one: int = Field(1000, gt=0)
    """How many of them one account may have; callers without a credential count as one."""
    list_grace: float = Field(30.0, ge=0)
    """How long the last known tools of a server that does not answer are still listed."""
