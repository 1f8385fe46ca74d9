"""One MCP's policy, made ready once for all calls."""

from gateway.policy.pins import Pins
from gateway.policy.rules import Rules
from mcp_platform.contracts.access import Principal
from mcp_platform.contracts.balancing import Balancing, CallLimits
from mcp_platform.contracts.policies import Access, Governance, McpPolicy


class PreparedPolicy:
    """What governs one MCP. A part that is None asks nothing."""

    def __init__(self, governance: Governance) -> None:
        policy = governance.policy or McpPolicy()
        self.governance = governance
        self.mcp_id = governance.mcp_id
        self.closed = governance.policy is None
        """It cannot be understood: nothing may be called."""
        self.public = not self.closed and policy.access is Access.PUBLIC
        self.rules = Rules(policy.rules) if policy.rules else None
        self.check_arguments = policy.check_arguments
        self.pins = Pins(governance.pins) if governance.pins else None
        self.max_response_bytes = policy.max_response_bytes
        self.redact = policy.redact
        self.limits: CallLimits = policy.limits
        self.balancing: Balancing = policy.balancing
        self.selects_tools = self.closed or self.rules is not None or self.pins is not None
        """Whether some tools may be hidden."""
        self.shapes_results = self.max_response_bytes is not None or self.redact

    def visible(self, caller: Principal | None, tool: str) -> bool:
        """Tell whether the caller may know the tool, by the rules and pins."""
        if not self.selects_tools:
            return True
        if self.closed or (self.rules is not None and not self.rules.allow(caller, tool)):
            return False
        return self.pins is None or not self.pins.quarantined(tool)
