"""`${NAME}` in a configuration: what it stands for, resolved only where a replica is started or called."""

import re
from collections.abc import Collection, Mapping

_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class UnknownVariable(LookupError):
    """A configuration names a variable that is not set, or that it may not see."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"${{{name}}} is not known: set {name} in the platform's environment"
            " and list it in MCP_PLATFORM_REPLICAS__EXPOSED_ENVIRONMENT"
        )
        self.name = name


class Variables:
    """The environment, as far as configurations may see it.

    Args:
        environment: The platform's own environment.
        exposed: Names that may be seen. Everything else, the platform's own secrets among it, stays hidden.
    """

    def __init__(self, environment: Mapping[str, str], exposed: Collection[str]) -> None:
        self._environment = environment
        self._exposed = frozenset(name for name in exposed if not name.startswith("MCP_PLATFORM_"))

    def resolve(self, text: str) -> str:
        """Replace each `${NAME}` in the text.

        Raises:
            UnknownVariable: A name is not set or not exposed.
        """

        def value(match: re.Match[str]) -> str:
            name = match[1]
            if name not in self._exposed or name not in self._environment:
                raise UnknownVariable(name)
            return self._environment[name]

        return _REFERENCE.sub(value, text)

    def resolve_all(self, texts: Mapping[str, str]) -> dict[str, str]:
        """Do the same for every value of a mapping."""
        return {name: self.resolve(text) for name, text in texts.items()}
