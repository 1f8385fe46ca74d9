"""Trust in an authority of the tests' own, as an operator gives it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.upstreams import tls
from tests.upstreams.certificates import Authority


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Authority]:
    """Give an authority that the platform trusts."""
    made = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(made.certificate))
    tls.context.cache_clear()  # it is read once in a process
    yield made
    tls.context.cache_clear()
