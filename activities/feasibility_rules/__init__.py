"""Feasibility by rules: what an idea touches, what was seen of it, what that risks, what would lower it."""

from activities.feasibility_rules.judging import Case, RuleAnalyst
from activities.feasibility_rules.opinions import with_opinion
from activities.feasibility_rules.reading import (
    has_config,
    included_config,
    packages_of,
    read_idea,
    search_text,
    without_credentials,
)
from activities.feasibility_rules.telling import model_input
from activities.feasibility_rules.wishes import find_capabilities
from activities.feasibility_rules.words import (
    count_words,
    important_words,
    problems_of,
    server_kinds,
)

__all__ = [
    "Case",
    "RuleAnalyst",
    "count_words",
    "find_capabilities",
    "has_config",
    "important_words",
    "included_config",
    "model_input",
    "packages_of",
    "problems_of",
    "read_idea",
    "search_text",
    "server_kinds",
    "with_opinion",
    "without_credentials",
]
