"""Documents as files."""

import json
from typing import Annotated

from fastapi import APIRouter, File, Form, UploadFile, status
from pydantic import ValidationError

from api.dependencies import PartsDep
from api.errors import problems_of
from api.v1.knowledge.storing import DocumentCreated, Writer, add_document
from mcp_platform.contracts.knowledge import Metadata
from mcp_platform.errors import PayloadTooLarge, ValidationFailed
from storage.knowledge.extraction import Unreadable, extract, file_title, kind_of, turn_to_read

router = APIRouter(prefix="/knowledge", tags=["Knowledge base"])

UPLOAD_PATH = "/api/v1/knowledge/documents/upload"
FORM_OVERHEAD = 65_536
"""Bytes of a form besides its file: the other fields and what stands between them."""
_LONGEST_TITLE = 500


@router.post("/documents/upload", status_code=status.HTTP_201_CREATED)
async def upload_document(
    file: Annotated[UploadFile, File(description="A .txt, .md, .html or .pdf file")],
    caller: Writer,
    parts: PartsDep,
    title: Annotated[
        str | None, Form(min_length=1, max_length=500, description="The file's own title unless given")
    ] = None,
    metadata: Annotated[
        str | None, Form(max_length=32_768, description="JSON, as in `POST /knowledge/documents`")
    ] = None,
) -> DocumentCreated:
    """Add a document from a file."""
    known = _metadata(metadata)
    limit = parts.settings.knowledge.max_upload_bytes
    size = file.size or 0
    if size > limit:
        raise PayloadTooLarge(limit)
    name = file.filename or ""
    try:
        kind = kind_of(name, file.content_type)
        async with turn_to_read(kind, size):
            extracted = await extract(await file.read(), kind)
    except Unreadable as error:
        raise ValidationFailed.at(("body", "file"), f"The file {error}") from None
    chosen = (title or extracted.title or file_title(name)).replace("\x00", "").strip()
    return await add_document(parts, caller, chosen[:_LONGEST_TITLE] or "Untitled", extracted.text, known)


def _metadata(text: str | None) -> Metadata:
    if not text:
        return Metadata()
    try:
        return Metadata.model_validate(json.loads(text))
    except ValidationError as error:
        problems = problems_of(list(error.errors()))
        raise ValidationFailed(
            [{**problem, "loc": ["body", "metadata", *problem["loc"]]} for problem in problems]
        ) from None
    except (ValueError, RecursionError):
        raise ValidationFailed.at(("body", "metadata"), "is not an object of JSON") from None
