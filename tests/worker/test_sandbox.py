"""The sandbox in which workflows run."""

import gc
from collections.abc import Iterator
from typing import Any

import pytest
from temporalio import workflow
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from mcp_platform.plugin import _sandboxed
from workflows.monitoring import ReconcileWorkflow


@pytest.fixture
def collections() -> Iterator[list[str]]:
    """Have the collector run at each occasion, and note when it does."""
    seen: list[str] = []

    def note(phase: str, _: dict[str, Any]) -> None:
        seen.append(phase)

    before = gc.get_threshold()
    gc.callbacks.append(note)
    gc.set_threshold(1, 1000, 1000)
    yield seen
    gc.set_threshold(*before)
    gc.callbacks.remove(note)


async def test_no_garbage_is_collected_while_a_workflows_modules_are_imported(collections: list[str]) -> None:
    definition = workflow._Definition.must_from_class(ReconcileWorkflow)
    runner = _sandboxed(SandboxedWorkflowRunner())
    collections.clear()
    runner.prepare_workflow(definition)
    # Only what is done before and after it: with the SDK's own runner there are hundreds.
    assert len(collections) < 20
    assert gc.isenabled()
