"""Writing configurations: reading what is asked, drafting, checking, and telling what came of it."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from pydantic import ValidationError
from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from activities.building import BuildFailed
from activities.generation import drafts, results
from activities.generation.repositories import Repository, read_repository
from activities.generation.words import search_text
from activities.heartbeat import beating
from mcp_platform.contracts.evidence import SourceKind
from mcp_platform.contracts.generation import (
    Answer,
    Checked,
    Conclusion,
    Draft,
    DraftKnown,
    Generated,
    GenerationOrder,
    Question,
    Understood,
    Wish,
)
from mcp_platform.contracts.images import GitSource
from mcp_platform.contracts.models import ModelInput
from mcp_platform.contracts.openapi import NeededSecret
from mcp_platform.formats.openapi import NoOpenApi
from mcp_platform.names import Collection
from mcp_platform.variables import references

if TYPE_CHECKING:
    from collections.abc import Collection as Names
    from uuid import UUID

    from storage.stores import Stores

_MOST_FOUND: Final = 10
"""Of what the files of a repository say, how much is drafted."""
_LONGEST_README: Final = 20_000
_MOST_TOOLS_TOLD: Final = 40
_LONGEST_NOTES: Final = 20


class Repositories(Protocol):
    """Gets the files of Git repositories, from where the platform may connect to."""

    async def fetch(self, source: GitSource, token: str | None, target: Path) -> str:
        """Put the files of one commit into an empty folder; give the commit."""
        ...


class Tokens(Protocol):
    """Knows with what an account may read a repository."""

    async def token(self, owner_id: UUID, url: str) -> str | None:
        """Give what proves that the account may read the repository; None: it has to be public."""
        ...


class GenerationActivities:
    """The steps of a generation; each may be repeated.

    Args:
        stores: Where wishes, drafts and MCPs are.
        repositories: Gets repositories.
        tokens: What private ones are read with.
        exposed: Variables of the platform's environment that configurations may name.
    """

    def __init__(
        self, stores: Stores, repositories: Repositories, tokens: Tokens, exposed: Names[str]
    ) -> None:
        self._stores = stores
        self._repositories = repositories
        self._tokens = tokens
        self._exposed = frozenset(exposed)

    @property
    def steps(self) -> list[Callable[..., Any]]:
        """All of them."""
        return [
            self.read,
            self.read_repository,
            self.draft_known,
            self.ask,
            self.draft_answer,
            self.check,
            self.conclude,
        ]

    @activity.defn(name="generation.read")
    async def read(self, order: GenerationOrder) -> Understood:
        """Read words, or an OpenAPI document, which is a draft at once."""
        wish = await self._wish(order.task_id)
        if order.source != "openapi":
            return Understood(text=search_text(wish))
        async with beating():
            try:
                # Large documents take seconds: YAML is slow to read.
                draft, config = await asyncio.to_thread(drafts.from_openapi, order.task_id, wish)
            except (NoOpenApi, drafts.TooLarge) as reason:
                raise _refused(f"the OpenAPI document {reason}", "DocumentRefused") from None
        await self._keep(draft, config)
        return Understood(text=f"{draft.name} {draft.description}"[:2000], drafts=[draft])

    @activity.defn(name="generation.read_repository")
    async def read_repository(self, order: GenerationOrder) -> Understood:
        """Fetch a repository, and draft what its files say; nothing of it is run."""
        wish = await self._wish(order.task_id)
        async with beating():
            try:
                repository = await self._fetched(order, wish)
            except BuildFailed as failed:
                raise _refused(str(failed), "RepositoryRefused") from None
        told: list[Draft] = []
        for number, found in enumerate(repository.found[:_MOST_FOUND]):
            draft, config = drafts.from_found(order.task_id, number, wish, repository, found)
            await self._keep(draft, config)
            told.append(draft)
        readme = {"address": repository.url, "readme": repository.readme[:_LONGEST_README]}
        await self._stores.documents.put(Collection.MODEL_INPUTS, _readme_key(order.task_id), readme)
        return Understood(
            text=f"{repository.name} {repository.description}"[:2000],
            drafts=told,
            notes=[note[:300] for note in repository.notes[:_LONGEST_NOTES]],
        )

    @activity.defn(name="generation.draft_known")
    async def draft_known(self, order: DraftKnown) -> Draft:
        """Draft a known server."""
        draft, config = drafts.from_known(order, await self._wish(order.task_id))
        await self._keep(draft, config)
        return draft

    @activity.defn(name="generation.ask")
    async def ask(self, question: Question) -> str:
        """Write down what a model is to be told; give the document's key."""
        wish = await self._wish(question.task_id)
        sections: dict[str, Any] = {
            "request": wish.model_dump(mode="json", include={"requirements", "description", "name"}),
            "known_servers": [_told(match.server, match.score) for match in question.matches],
        }
        if wish.background:
            sections["knowledge"] = [{"title": each.title, "text": each.text} for each in wish.background]
        if readme := await self._stores.documents.get(Collection.MODEL_INPUTS, _readme_key(question.task_id)):
            sections["repository"] = readme
        if question.failure is not None:
            last = await self._stores.documents.get(Collection.DRAFTS, question.failure.draft.key)
            sections["last_draft"] = last or question.failure.draft.label
            sections["what_was_wrong_with_it"] = question.failure.reason
        key = f"{question.task_id}/question-{question.number}"
        body = ModelInput(sections=sections).model_dump(mode="json")
        await self._stores.documents.put(Collection.MODEL_INPUTS, key, body)
        return key

    @activity.defn(name="generation.draft_answer")
    async def draft_answer(self, order: Answer) -> Draft:
        """Draft what a model answered; an answer that makes none is a draft with a problem."""
        wish = await self._wish(order.task_id)
        try:
            drafted = drafts.from_answer(order, wish)
        except ValidationError as error:
            return _problem(order, drafts.problems_of(error))
        except ValueError as error:
            return _problem(order, str(error))
        if not isinstance(drafted, tuple):
            drafted = drafts.from_known(drafted, wish)
        draft, config = drafted
        await self._keep(draft, config)
        return draft

    @activity.defn(name="generation.check")
    async def check(self, draft: Draft) -> Checked:
        """Hold a draft against the rules for configurations; name the packages that it runs."""
        return await asyncio.to_thread(drafts.check, draft, await self._config(draft))

    @activity.defn(name="generation.conclude")
    async def conclude(self, conclusion: Conclusion) -> Generated:
        """Put together what is told of the draft that held; without one the task fails with the reasons."""
        result, owner_id = conclusion.result, conclusion.order.owner_id
        if result is None:
            raise _refused(results.reason_for_none(conclusion), "NothingFound")
        draft = result.draft
        config = await self._config(draft)
        needed = await self._needed(draft, config, owner_id)
        async with self._stores.read() as rows:
            slug = await rows.mcps.free_slug(draft.slug)
        warnings = results.warnings(conclusion, result)
        if slug != draft.slug:
            warnings.append(f"The slug {draft.slug} is taken; {slug} is free.")
        strange = draft.origin in drafts.STRANGERS or (draft.known is not None and not draft.trusted)
        lent = [each.name for each in needed if each.known] if strange else []
        if lent:
            warnings.append(
                f"It would be given what is stored as {', '.join(lent)}; make sure that it may have it."
            )
        return Generated(
            config=config,
            slug=slug,
            name=draft.name,
            version="1.0.0",
            description=draft.description,
            explanation=draft.explanation,
            engine=draft.engine,
            verified=results.verified(result, config, tried=conclusion.order.try_it),
            warnings=warnings,
            sources=results.evidence(result, config),
            secrets=needed,
            tools=next((trial.tools for trial in result.trials if trial.tools), draft.tools),
            alternatives=results.alternatives(conclusion.matches, draft.known),
            skipped=draft.skipped,
        )

    async def _wish(self, task_id: str) -> Wish:
        body = await self._stores.documents.get(Collection.IDEAS, task_id)
        if body is None:
            raise _refused(f"what the task {task_id} asks is gone", "WishMissing")
        return Wish.model_validate(body)

    async def _keep(self, draft: Draft, config: dict[str, Any]) -> None:
        await self._stores.documents.put(Collection.DRAFTS, draft.key, config)

    async def _config(self, draft: Draft) -> dict[str, Any]:
        config = await self._stores.documents.get(Collection.DRAFTS, draft.key)
        if config is None:
            raise _refused(f"the draft {draft.key} is gone", "DraftMissing")
        return config

    async def _fetched(self, order: GenerationOrder, wish: Wish) -> Repository:
        url = wish.repository_url or ""
        token = await self._tokens.token(order.owner_id, url) if order.reads_connected else None
        source = GitSource(url=url, ref=wish.ref or "HEAD")
        with tempfile.TemporaryDirectory(prefix="mcp-platform-read-", ignore_cleanup_errors=True) as name:
            folder = Path(name) / "tree"
            folder.mkdir()
            commit = await self._repositories.fetch(source, token, folder)
            private = token is not None
            return await asyncio.to_thread(
                read_repository, folder, url, commit, private=private, path=wish.path
            )

    async def _needed(self, draft: Draft, config: dict[str, Any], owner_id: UUID) -> list[NeededSecret]:
        names = references(config)
        async with self._stores.read() as rows:
            stored = await rows.secrets.sealed(owner_id, names)
        known = stored.keys() | self._exposed
        return [
            NeededSecret(name=name, what=draft.secrets.get(name, ""), known=name in known)
            for name in sorted(names)
        ]


def _problem(order: Answer, reason: str) -> Draft:
    return Draft(
        key=drafts.draft_key(order.task_id, order.number),
        origin=SourceKind.MODEL,
        source=f"model:{order.model}",
        label="the model's draft",
        name="",
        slug="",
        engine="model",
        problem=reason,
    )


def _told(server: Any, score: float) -> dict[str, Any]:
    return {
        "slug": server.slug,
        "name": server.name,
        "description": server.description,
        "tools": [tool.name for tool in server.tools[:_MOST_TOOLS_TOLD]],
        "secrets": [each.name for each in server.secrets],
        "score": round(score, 2),
    }


def _readme_key(task_id: str) -> str:
    return f"{task_id}/repository"


def _refused(reason: str, kind: str) -> ApplicationError:
    # It is an answer to who asks, and no trouble of ours.
    category = ApplicationErrorCategory.BENIGN
    return ApplicationError(reason, type=kind, non_retryable=True, category=category)
