"""How a function's arguments and result pass through JSON."""

from __future__ import annotations

import inspect
import sys
import typing
from types import NoneType, SimpleNamespace
from typing import TYPE_CHECKING, Any

from durable.core import targets
from durable.core.errors import InvalidDefinition, InvalidInput
from durable.core.payloads import Converter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_BY_PLACE = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
# Values of these types are their own JSON. Not str and float: they can hold what JSON has not.
_ATOMS = frozenset({int, bool, NoneType})
_EXACT = frozenset({str, int, float, bool, dict, list, NoneType})
# As every object and every list of JSON is: to convert one is to copy it, and nothing of what it holds.
_COPIED: dict[Any, type] = {dict[str, Any]: dict, list[Any]: list}
# Python 3.14 evaluates annotations when they are asked for; 3 asks it to let pass names that do not exist yet.
_INSPECT: dict[str, Any] = {"annotation_format": 3} if sys.version_info >= (3, 14) else {}


class Slot:
    """A parameter, or the result, of a function.

    Attributes:
        where: What errors call it, e.g. ``charge(amount)``.
    """

    __slots__ = ("_annotation", "_copied", "_exact", "_names", "_plain", "_target", "where")

    def __init__(self, annotation: Any, where: str, names: dict[str, Any]) -> None:
        self.where = where
        self._annotation, self._names = annotation, names
        self._target: Any = None
        self._exact: Any = None
        self._copied: Any = None
        self._plain = False

    def settle(self) -> Any:
        """Return the type to convert to, having found out what the annotation means.

        Raises:
            InvalidDefinition: It names nothing that exists, or JSON cannot say what it means.
        """
        try:
            self._target = targets.target(_evaluated(self._annotation, self._names))
        except (NameError, AttributeError, TypeError, SyntaxError, targets.Unclear) as error:
            raise InvalidDefinition(self.where, f"its annotation cannot be used: {error}") from error
        self._plain = self._target is Any
        self._exact = self._target if self._target in _EXACT else None
        self._copied = _COPIED.get(self._target)
        return self._target

    def meaning(self) -> Any:
        """Return what the annotation means; ``Any`` if there is none.

        Raises:
            InvalidDefinition: It names nothing that exists, or JSON cannot say what it means.
        """
        self.settle()
        return _evaluated(self._annotation, self._names)

    def strangers(self) -> list[type]:
        """Return the types in the annotation that only a converter can know; it must be settled."""
        return targets.strangers(_evaluated(self._annotation, self._names))

    def encode(self, value: Any, converter: Converter) -> Any:
        """Return a value as plain JSON."""
        return value if type(value) in _ATOMS else converter.encode(value, self.where)

    def decode(self, data: Any, converter: Converter, where: str = "") -> Any:
        """Return plain JSON as the value that the annotation calls for."""
        if self._plain or type(data) is self._exact:
            return data
        if type(data) is self._copied:
            return data.copy()
        return converter.decode_as(data, self._target or self.settle(), where or self.where)


class Signature:
    """The parameters and the result of a function.

    Attributes:
        name: What errors call the function.
        input: What they call all of its arguments.
        result: What its result passes through.
    """

    def __init__(self, shape: inspect.Signature, name: str, names: dict[str, Any]) -> None:
        """Take a signature as ``inspect`` gives it.

        Args:
            shape: The signature.
            name: What errors shall call the function.
            names: What names in annotations mean.
        """
        self.name = name
        self._shape = shape
        parameters = shape.parameters.values()
        slots = {p.name: Slot(p.annotation, f"{name}({p.name})", names) for p in parameters}
        self.input = f"input of {name}"
        self.result = Slot(shape.return_annotation, f"result of {name}", names)
        self._all = [*slots.values(), self.result]
        self._by_place = [slots[p.name] for p in parameters if p.kind in _BY_PLACE]
        self._by_name = {p.name: slots[p.name] for p in parameters if p.kind in _BY_NAME}
        self._rest = [slots[p.name] for p in parameters if p.kind is p.VAR_POSITIONAL]
        self._others = [slots[p.name] for p in parameters if p.kind is p.VAR_KEYWORD]
        required = [p for p in parameters if p.default is p.empty]
        self._least = sum(p.kind in _BY_PLACE for p in required)
        # With this, a call with positional arguments alone is right if their number is.
        self._is_simple = not any(p.kind is p.KEYWORD_ONLY for p in required)
        self._usual = len(self._by_place) if self._is_simple else None

    @classmethod
    def of(cls, fn: Callable[..., Any], name: str, *, skip_first: bool = False) -> Signature:
        """Return the signature of a function.

        Args:
            fn: The function.
            name: What errors shall call it.
            skip_first: Whether to leave out the first parameter, a method's ``self``.

        Raises:
            InvalidDefinition: JSON cannot say what is annotated. Names that do
                not exist yet are no error before they are needed.
        """
        shape = inspect.signature(fn, **_INSPECT)
        parameters = list(shape.parameters.values())[1 if skip_first else 0 :]
        names = getattr(inspect.unwrap(fn), "__globals__", {})
        signature = cls(shape.replace(parameters=parameters), name, names)
        for slot in signature._all:
            try:
                slot.settle()
            except InvalidDefinition as error:
                if not isinstance(error.__cause__, NameError | AttributeError):
                    raise
        return signature

    def parameters(self) -> list[tuple[inspect.Parameter, Slot]]:
        """Return the parameters, each with what passes its values through JSON."""
        return list(zip(self._shape.parameters.values(), self._all[:-1], strict=True))

    def check(self) -> None:
        """Refuse annotations that cannot be used.

        Raises:
            InvalidDefinition: One names nothing that exists, or JSON cannot say what it means.
        """
        for slot in self._all:
            slot.settle()

    def doubts(self, converter: Converter) -> Iterator[tuple[str, str]]:
        """Yield each parameter whose values nobody could read from JSON, and why; the result is ``return``.

        Args:
            converter: The one that is asked about types that JSON does not know.
        """
        names = [*self._shape.parameters, "return"]
        for name, slot in zip(names, self._all, strict=True):
            try:
                slot.settle()
            except InvalidDefinition as error:
                yield name, error.problem
            else:
                strange = [kind for kind in slot.strangers() if not converter.knows(kind)]
                yield from ((name, f"no converter makes a {kind.__qualname__} from JSON") for kind in strange)

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any], converter: Converter) -> dict[str, Any]:
        """Return the arguments of a call as plain JSON.

        Raises:
            InvalidInput: They do not fit the parameters, or one has no JSON form.
        """
        if len(args) == self._usual and not kwargs:
            if _ATOMS.issuperset(map(type, args)):
                return {"args": list(args), "kwargs": {}}
            slots = self._by_place
        else:
            slots = self._slots(args, kwargs)
        encoded = []
        for slot, value in zip(slots, args):  # noqa: B905 - there are as many; to check it takes as long as the loop
            # Atoms are looked at here as well: a call for each takes longer than what it does.
            encoded.append(value if type(value) in _ATOMS else slot.encode(value, converter))
        if not kwargs:
            return {"args": encoded, "kwargs": {}}
        return {"args": encoded, "kwargs": {k: self._named(k).encode(v, converter) for k, v in kwargs.items()}}

    def unbind(self, data: dict[str, Any], converter: Converter) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments that ``bind`` wrote.

        Raises:
            InvalidInput: They do not fit the parameters, as these are now.
            InvalidDefinition: An annotation cannot be used.
        """
        args, kwargs = data["args"], data["kwargs"]
        slots = self._slots(args, kwargs)
        decoded = tuple([slot.decode(value, converter) for slot, value in zip(slots, args, strict=True)])
        if not kwargs:
            return decoded, {}
        return decoded, {k: self._named(k).decode(v, converter) for k, v in kwargs.items()}

    def named(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of a call by the names of their parameters, defaults included.

        Raises:
            InvalidInput: They do not fit the parameters.
        """
        try:
            bound = self._shape.bind(*args, **kwargs)
        except TypeError as error:
            raise InvalidInput(f"{self.name}(...)", str(error)) from None
        bound.apply_defaults()
        return dict(bound.arguments)

    def fits(self, data: Any, converter: Converter | None = None) -> None:
        """Refuse JSON that is not the arguments of a call: an object with ``args`` and ``kwargs``.

        Args:
            data: The JSON.
            converter: Without one, values of types that only a converter knows are not looked into.

        Raises:
            InvalidInput: It does not fit; the error names the parameter.
            InvalidDefinition: An annotation cannot be used.
        """
        if not (isinstance(data, dict) and data.keys() == {"args", "kwargs"}):
            raise InvalidInput(f"{self.name}(...)", "the input is not an object with the keys args and kwargs")
        for key, kind, word in (("args", list, "a list"), ("kwargs", dict, "an object")):
            if not isinstance(data[key], kind):
                raise InvalidInput(f"{self.name}(...)", f"{key} is not {word}")
        self.unbind(data, converter or _Incurious())

    def encode_result(self, value: Any, converter: Converter, *, where: str = "") -> Any:
        """Return what the function returned as plain JSON.

        Raises:
            InvalidInput: It has no JSON form.
        """
        return converter.encode(value, where or self.result.where)

    def decode_result(self, data: Any, converter: Converter, *, where: str = "") -> Any:
        """Return the function's result, as its annotation calls for.

        Raises:
            InvalidInput: It does not fit the annotation.
            InvalidDefinition: The annotation cannot be used.
        """
        return self.result.decode(data, converter, where)

    def _slots(self, args: Sequence[Any], kwargs: dict[str, Any]) -> list[Slot]:
        """Return the parameter of each positional argument, having checked that all arguments fit."""
        count, known = len(args), len(self._by_place)
        # The short way is a tenth of the work, and the way of nearly all calls.
        if kwargs or not self._is_simple or not self._least <= count <= known:
            try:
                self._shape.bind(*args, **kwargs)
            except TypeError as error:
                raise InvalidInput(f"{self.name}(...)", str(error)) from None
        if count == known:
            return self._by_place
        return self._by_place[:count] + self._rest * (count - known)

    def _named(self, name: str) -> Slot:
        return self._by_name.get(name) or self._others[0]


class _Incurious(Converter):
    def decode_other(self, data: Any, kind: Any) -> Any:
        return data


def _evaluated(annotation: Any, names: dict[str, Any]) -> Any:
    # One at a time: a name that is missing must not take the other parameters with it.
    holder: Any = SimpleNamespace(__annotations__={"it": annotation})
    if annotation is inspect.Parameter.empty:
        return Any
    return typing.get_type_hints(holder, globalns=names, include_extras=True)["it"]
