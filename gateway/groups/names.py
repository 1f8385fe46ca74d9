"""Under which names a group shows what its members offer.

A name that one member alone has stays as it is. Where several have it, each is shown as
`{slug}__{name}`; so a new member renames nothing but what it has in common with others. Names longer
than 64 characters, which models' providers refuse, are cut and end in a digest of the whole. Whatever
is shown how, `{slug}__{name}` always leads to the member's item.

A URI that several members have stays the first one's, in the order in which they joined; the others
are shown as `mcp+{slug}+{uri}`, which again always leads there. A template is a URI.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from hashlib import blake2b
from itertools import islice
from typing import Final

LONGEST: Final = 64
_SEPARATOR: Final = "__"
_DIGEST: Final = 8
_COMPARED: Final = 200
"""Of more names, those are similar that begin alike: to compare each would hold up other calls."""
_LONGEST_ASKED: Final = 255
_MOST_SIMILAR: Final = 3
_URI_PREFIX: Final = "mcp+"


@dataclass(frozen=True, slots=True)
class Origin:
    """What a shown name stands for: a member, and the item's name there."""

    slug: str
    name: str


def qualified(origin: Origin) -> str:
    """Give the name that leads to one member's item, whatever the others have; as long as it is."""
    return f"{origin.slug}{_SEPARATOR}{origin.name}"


class Names:
    """The names of one kind of item, over all members of a group.

    Args:
        members: Slugs in the order in which they joined, each with its own names.
    """

    def __init__(self, members: Sequence[tuple[str, Collection[str]]]) -> None:
        self._slugs = [slug for slug, _ in members]
        self._origins: dict[str, Origin] = {}
        self._shown: dict[Origin, str] = {}
        owners: dict[str, list[str]] = {}
        for slug, names in members:
            for name in names:
                owners.setdefault(name, []).append(slug)
        renamed: list[Origin] = []
        for name, slugs in owners.items():
            if len(slugs) == 1 and len(name) <= LONGEST:
                self._take(name, Origin(slugs[0], name))
            else:
                renamed += [Origin(slug, name) for slug in slugs]
        for origin in sorted(renamed, key=qualified):
            alone = len(owners[origin.name]) == 1
            self._take(self._free(origin.name if alone else qualified(origin), qualified(origin)), origin)

    def shown(self, slug: str, name: str) -> str:
        """Give the name under which a member's item is shown."""
        return self._shown[Origin(slug, name)]

    def find(self, shown: str) -> Origin | None:
        """Tell what a name stands for, be it the one that is shown or the qualified one."""
        found = self._origins.get(shown)
        if found is not None:
            return found
        slug, separator, name = shown.partition(_SEPARATOR)
        origin = Origin(slug, name)
        return origin if separator and origin in self._shown else None

    def similar(self, name: str) -> list[str]:
        """Give shown names that somebody may have meant who asked for one that there is not."""
        if not name or len(name) > _LONGEST_ASKED:
            return []
        end = f"{_SEPARATOR}{name}"
        ends = [shown for shown in self._origins if shown.endswith(end)]
        if len(self._origins) <= _COMPARED:
            close = get_close_matches(name, self._origins, _MOST_SIMILAR)
        else:
            begin = name[: max(len(name) * 2 // 3, 1)]
            close = list(islice((n for n in self._origins if n.startswith(begin)), _MOST_SIMILAR))
        return [*ends, *(n for n in close if n not in ends)][:5]

    def _take(self, shown: str, origin: Origin) -> None:
        self._origins[shown] = origin
        self._shown[origin] = shown

    def _free(self, wanted: str, whole: str) -> str:
        """Give the wanted name, or one that is short enough and that nothing else has."""
        if len(wanted) <= LONGEST and wanted not in self._origins:
            return wanted
        digits = _DIGEST
        while True:
            digest = blake2b(whole.encode(), digest_size=32).hexdigest()[:digits]
            name = f"{wanted[: LONGEST - 1 - digits]}_{digest}"
            if name not in self._origins:
                return name
            digits += 2


class Uris:
    """The URIs, or templates of such, over all members of a group.

    Args:
        members: Slugs in the order in which they joined, each with its own URIs.
    """

    def __init__(self, members: Iterable[tuple[str, Collection[str]]]) -> None:
        self._owners: dict[str, str] = {}
        self._slugs: set[str] = set()
        for slug, uris in members:
            self._slugs.add(slug)
            for uri in uris:
                self._owners.setdefault(uri, slug)

    @property
    def owners(self) -> Mapping[str, str]:
        """Whose each URI is that is shown as it is."""
        return self._owners

    def shown(self, slug: str, uri: str) -> str:
        """Give the URI under which a member's item is shown."""
        return uri if self._owners.get(uri) == slug else f"{_URI_PREFIX}{slug}+{uri}"

    def find(self, shown: str) -> Origin | None:
        """Tell what a URI stands for; one that nobody lists is found if it is qualified."""
        owner = self._owners.get(shown)
        if owner is not None:
            return Origin(owner, shown)
        if shown.startswith(_URI_PREFIX):
            slug, separator, uri = shown.removeprefix(_URI_PREFIX).partition("+")
            if separator and slug in self._slugs:
                return Origin(slug, uri)
        return None
