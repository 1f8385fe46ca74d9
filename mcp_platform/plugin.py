"""What every Temporal client, worker and replayer of the platform has in common."""

import gc

from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.plugin import SimplePlugin
from temporalio.worker import WorkflowInstance, WorkflowInstanceDetails, WorkflowRunner
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


class Runner(SandboxedWorkflowRunner):
    """The SDK's sandbox, without collections of garbage while it imports a workflow's modules.

    In Python 3.11 an import fails with a `KeyError` when the collector, at a certain point of it, comes by
    an object that itself imports something as it is destroyed (cpython#91351, mended in 3.12).
    """

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        """Make the sandbox of a run, or of a workflow that is checked as its worker starts."""
        enabled = gc.isenabled()
        gc.disable()
        try:
            return super().create_instance(det)
        finally:
            if enabled:
                gc.enable()


def _sandboxed(existing: WorkflowRunner | None) -> WorkflowRunner:
    if not isinstance(existing, SandboxedWorkflowRunner):
        raise TypeError("the platform's workflows run in the SDK's sandbox")
    restrictions = existing.restrictions.with_passthrough_modules(*_SHARED_MODULES)
    return Runner(restrictions=restrictions)


PLATFORM = SimplePlugin("mcp_platform", data_converter=pydantic_data_converter, workflow_runner=_sandboxed)
"""The pydantic converter and the sandbox's shared modules."""
