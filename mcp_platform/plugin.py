"""What every Temporal client, worker and replayer of the platform has in common."""

from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.plugin import SimplePlugin
from temporalio.worker import WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

# The sandbox imports a workflow's modules anew for each run. These are safe to share: they hold
# definitions and pure functions, and importing them again would cost each run milliseconds.
_SHARED_MODULES = (
    "activities",
    "annotated_types",
    "jsonschema",
    "mcp_platform",
    "pydantic",
    "pydantic_core",
    "structlog",
)


def _sandboxed(existing: WorkflowRunner | None) -> WorkflowRunner:
    if not isinstance(existing, SandboxedWorkflowRunner):
        raise TypeError("the platform's workflows run in the SDK's sandbox")
    restrictions = existing.restrictions.with_passthrough_modules(*_SHARED_MODULES)
    return SandboxedWorkflowRunner(restrictions=restrictions)


PLATFORM = SimplePlugin("mcp_platform", data_converter=pydantic_data_converter, workflow_runner=_sandboxed)
"""The pydantic converter and the sandbox's shared modules."""
