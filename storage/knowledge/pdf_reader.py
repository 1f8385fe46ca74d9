"""Reads a PDF: `python -m storage.knowledge.pdf_reader <characters> <seconds>`."""

import io

from pypdf import PdfReader
from pypdf.errors import PyPdfError

from storage.knowledge.reader import MAX_PAGES, clean, serve


def read_pdf(content: bytes, longest: int) -> dict[str, str]:
    """Give the text of a PDF, a paragraph a page, as long as is wanted."""
    try:
        reader = PdfReader(io.BytesIO(content))
        if reader.is_encrypted and not reader.decrypt(""):
            return {"problem": "is an encrypted PDF; upload one without a password"}
        if len(reader.pages) > MAX_PAGES:
            return {"problem": f"has more than {MAX_PAGES} pages; upload it in parts"}
        texts: list[str] = []
        length = 0
        for page in reader.pages:
            texts.append(page.extract_text().strip())
            length += len(texts[-1])
            if length > longest:
                break
        title = str((reader.metadata and reader.metadata.title) or "")
    except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        return {"problem": f"is no PDF that can be read ({type(error).__name__})"}
    return {"text": clean("\n\n".join(texts)), "title": clean(title).strip()}


if __name__ == "__main__":
    serve(read_pdf)
