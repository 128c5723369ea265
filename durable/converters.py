"""How model instances pass through JSON: by reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.core.exceptions import ObjectDoesNotExist
from django.db.models import Model

from durable.core.payloads import Converter, Storable

_KEYS = {"$model", "pk"}


@dataclass(frozen=True, slots=True)
class ModelRef(Storable):
    """A reference to a model instance: what workflow code gets in its place.

    Pass it on to an activity, which gets the instance.

    Attributes:
        label: The model, e.g. ``shop.Order``.
        pk: The primary key, as it is in JSON.
    """

    label: str
    pk: Any

    def to_json(self) -> dict[str, Any]:
        """Return what is stored for the instance as well."""
        return {"$model": self.label, "pk": self.pk}

    @classmethod
    def from_json(cls, data: Any) -> ModelRef:
        """Build the reference that ``to_json`` wrote.

        Raises:
            ValueError: The data is no reference.
        """
        if not (isinstance(data, dict) and data.keys() == _KEYS and isinstance(data["$model"], str)):
            raise ValueError("Expected a reference to a model instance, with the keys $model and pk")
        return cls(data["$model"], data["pk"])


class DjangoConverter(Converter):
    """Stores model instances as references to their rows.

    Args:
        load: Whether a reference becomes the instance itself, which takes a
            query; else it becomes a ``ModelRef``, as in workflow code.
        using: Alias of the database to load from; None lets the routers say.
    """

    def __init__(self, *, load: bool = False, using: str | None = None) -> None:
        self.load, self.using = load, using

    def encode_other(self, value: Any) -> Any:
        """Return a reference to a model instance."""
        if not isinstance(value, Model):
            return super().encode_other(value)
        if value.pk is None or value._state.adding:
            raise ValueError(f"this {value._meta.label} is not saved, so there is nothing to refer to")
        return ModelRef(value._meta.label, value.pk)

    def decode_other(self, data: Any, kind: Any) -> Any:
        """Return the instance, or the reference, where a model is annotated."""
        if not (isinstance(kind, type) and issubclass(kind, Model)):
            return super().decode_other(data, kind)
        ref = ModelRef.from_json(data)
        model = _model(ref, kind)
        return self._loaded(ref, model) if self.load else ref

    def _loaded(self, ref: ModelRef, model: type[Model]) -> Model:
        rows = model._base_manager.using(self.using)
        try:
            return rows.get(pk=ref.pk)
        except ObjectDoesNotExist:
            raise ValueError(f"there is no {ref.label} with the primary key {ref.pk!r} any more") from None


def _model(ref: ModelRef, kind: type[Model]) -> type[Model]:
    try:
        model = apps.get_model(ref.label)
    except (LookupError, ValueError):
        raise ValueError(f"there is no model {ref.label!r}") from None
    if not issubclass(model, kind):
        raise ValueError(f"Expected a reference to a {kind._meta.label}, got one to a {ref.label}")
    return model
