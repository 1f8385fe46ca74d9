"""What Prometheus sees of models: calls by what came of them, tokens, and how long answers take."""

from typing import Final

from prometheus_client import Counter, Histogram

CALLS: Final = Counter(
    "mcp_platform_model_calls", "Calls of language models, by what came of them.", ["model", "outcome"]
)
TOKENS: Final = Counter("mcp_platform_model_tokens", "Tokens that providers counted.", ["model", "direction"])
SECONDS: Final = Histogram(
    "mcp_platform_model_seconds",
    "How long one call took, whatever came of it.",
    ["model"],
    buckets=(0.25, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600),
)
