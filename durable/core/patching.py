"""What an execution knows of the patches that its code asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from durable.core import frames
from durable.core.errors import PatchReused

if TYPE_CHECKING:
    from durable.core.frames import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """One patch: the answer that the code got, by which call, and from where it asked."""

    taken: bool
    deprecated: bool
    places: dict[Place, None] = field(default_factory=dict)


class Patches:
    """The patches of one execution, by id."""

    def __init__(self) -> None:
        self._known: dict[str, Patch] = {}

    def known(self, patch_id: str, *, deprecated: bool, place: Place | None) -> bool | None:
        """Return the answer that the code got before; None if it asks for the first time.

        Raises:
            PatchReused: One call says that the old path is gone, the other that it is not.
        """
        patch = self._known.get(patch_id)
        if patch is None:
            return None
        if patch.deprecated != deprecated:
            places = [frames.location(p) if p else "" for p in (next(iter(patch.places), None), place)]
            raise PatchReused(patch_id, first=places[0], second=places[1], deprecated=deprecated)
        if place is not None:
            patch.places[place] = None
        return patch.taken

    def keep(self, patch_id: str, *, taken: bool, deprecated: bool, place: Place | None) -> None:
        """Remember an answer, for wherever the code asks again."""
        places = {} if place is None else {place: None}
        self._known[patch_id] = Patch(taken=taken, deprecated=deprecated, places=places)

    def note(self) -> str:
        """Say which taken patches were asked for in more than one place: they may be two changes with one id."""
        notes = []
        for patch_id, patch in self._known.items():
            places = sorted({frames.location(place) for place in patch.places})
            if patch.taken and len(places) > 1:
                notes.append(
                    f"Patch {patch_id!r} is asked for at {' and at '.join(places)}: "
                    f"if these are two changes, give the later one an id of its own"
                )
        return ". ".join(notes)
