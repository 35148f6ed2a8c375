"""A reader of pickles that can only make plain data. Nothing named in the file is imported or called.

Python's own `pickle` calls what a file names. Here a name stays a name; what may be "called" are the functions that the
caller passes in, which make arrays out of descriptions. Whatever else the file wants to call becomes a `Placeholder`,
which records what it is given and does nothing.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Iterable, Mapping
from typing import IO, Any, Final, NamedTuple, cast

from ._budget import Budget

#: More steps than any checkpoint takes: a hundred thousand arrays, some forty steps each.
_MOST_STEPS: Final = 4_000_000
_LONGEST_LINE: Final = 2**12
_LONGEST_NAME: Final = 2**10
_LARGEST_NUMBER: Final = 2**1024
#: Keys further from zero may share one hash, and a dictionary of such takes forever.
_LARGEST_KEY: Final = 2**60
#: Bytes of memory that a step takes, rounded up: for a place on a stack, for a value, for a note in the memo, for a
#: container, for an object of ours.
_STEP, _VALUE, _NOTE, _CONTAINER, _OBJECT = 24, 112, 112, 256, 768
_STEPS_AT_ONCE: Final = 1000

_VALUES: Final = {
    *("BININT", "BININT1", "BININT2", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_CONSTANTS: Final = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_TUPLES: Final = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_SIZES: Final = (
    dict.fromkeys(_VALUES | {"LONG1", "LONG4", "GLOBAL", "STACK_GLOBAL"}, _VALUE)
    | dict.fromkeys(("BINPUT", "LONG_BINPUT", "MEMOIZE"), _NOTE)
    | dict.fromkeys(("EMPTY_DICT", "EMPTY_LIST", "EMPTY_SET", "FROZENSET", "MARK"), _VALUE)
    | dict.fromkeys(("TUPLE", *_TUPLES, "APPEND", "APPENDS", "ADDITEMS"), _VALUE)
    | dict.fromkeys(("SETITEM", "SETITEMS", "BUILD"), _CONTAINER)
    | dict.fromkeys(("REDUCE", "NEWOBJ", "NEWOBJ_EX", "BINPERSID"), _OBJECT)
)


class Name(NamedTuple):
    """A class or function that the file names: `module name`."""

    text: str


class Placeholder(dict[str | int, Any]):
    """Stands for an object that the file wants to be made: its attributes and items, and nothing else of it.

    Attributes
    ----------
    name : str
        Of what would have been called.
    arguments : tuple
        What it would have been called with.
    state : object
        What it would have been given, where that is no dictionary.
    """

    __slots__ = ("arguments", "name", "state")

    def __init__(self, name: str, arguments: tuple[Any, ...] = ()) -> None:
        super().__init__()
        self.name, self.arguments = name, arguments
        self.state: object = None

    def build(self, state: object) -> None:
        """Record a state: attributes, or a pair of two kinds of them, or something of its own."""
        pair = state if isinstance(state, tuple) and len(state) == 2 else (state,)
        parts = [part for part in pair if isinstance(part, dict)]
        if len(parts) + sum(part is None for part in pair) == len(pair):
            for part in parts:
                set_items(self, part.items())
        else:
            self.state = state


class Bounded:
    """What `pickletools` reads of a stream, which may not claim more than there is."""

    def __init__(self, stream: IO[bytes], most: int) -> None:
        self.stream, self.left = stream, most

    def read(self, size: int) -> bytes:
        """Read that many bytes."""
        if size > self.left:
            raise ValueError(f"a pickle of something of {size} bytes, where {self.left} are left")
        self.left -= size
        return self.stream.read(size)

    def readline(self) -> bytes:
        """Read a line: a name."""
        line = self.stream.readline(min(_LONGEST_LINE, self.left))
        self.left -= len(line)
        return line

    def tell(self) -> int:
        """Tell the place."""
        return self.stream.tell()


class Machine:
    """Runs the instructions of one pickle, those that data needs.

    Parameters
    ----------
    budget : Budget
        What the data is counted on.
    functions : mapping of str to callable
        What a name that is called stands for.
    storage : callable
        Makes an object of a persistent id.

    Attributes
    ----------
    placeholders : list of Placeholder
        All that were made.
    """

    def __init__(
        self,
        budget: Budget,
        functions: Mapping[str, Callable[..., Any]] | None = None,
        storage: Callable[[Any], Any] = lambda pid: None,
    ) -> None:
        self.budget, self.functions, self.storage = budget, functions or {}, storage
        self.placeholders: list[Placeholder] = []
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def load(self, stream: IO[bytes], most: int) -> Any:
        """Read one pickle of at most so many bytes off a stream, and leave the stream behind it."""
        try:
            size = 0
            for step, (opcode, argument, _) in enumerate(
                pickletools.genops(cast("IO[bytes]", Bounded(stream, most))), start=1
            ):
                if opcode.name == "STOP":
                    self.budget.keep("a pickle", size)
                    return self.stack.pop()
                size += _size(opcode.name, argument)
                if step % _STEPS_AT_ONCE == 0 or size > 2**20:
                    self.budget.keep("a pickle", size)
                    size = 0
                if step > _MOST_STEPS:
                    raise ValueError("the pickle is too long for weights")
                self._run(opcode.name, argument)
        except (IndexError, KeyError, AttributeError, TypeError, OverflowError, RecursionError) as error:
            raise ValueError(f"a malformed pickle ({type(error).__name__})") from None
        raise ValueError("a pickle without an end")

    def _run(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in _VALUES:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in ("LONG1", "LONG4"):
            if not -_LARGEST_NUMBER < argument < _LARGEST_NUMBER:
                raise ValueError("a number too large for weights")
            stack.append(argument)
        elif name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self.memo[len(self.memo) if name == "MEMOIZE" else argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        elif name in ("POP", "DUP"):
            stack.append(stack[-1]) if name == "DUP" else stack.pop()
        elif name not in ("PROTO", "FRAME") and not (self._contain(name) or self._make(name, argument)):
            raise ValueError(f"a pickle's instruction {name}, which weights do not need")

    def _contain(self, name: str) -> bool:
        """Run what makes or fills containers; False if that is something else."""
        stack = self.stack
        if name in ("EMPTY_DICT", "EMPTY_LIST", "EMPTY_SET"):
            stack.append({} if name == "EMPTY_DICT" else [])
        elif name == "MARK":
            self.below.append(stack)
            self.stack = []
        elif name in ("TUPLE", "FROZENSET"):
            items = self._marked()
            self.stack.append(tuple(items))
        elif name == "POP_MARK":
            self._marked()
        elif name in _TUPLES:
            if len(stack) < _TUPLES[name]:
                raise IndexError(name)
            items = stack[-_TUPLES[name] :]
            del stack[-_TUPLES[name] :]
            stack.append(tuple(items))
        elif name in ("APPEND", "APPENDS", "ADDITEMS"):
            items = self._marked() if name != "APPEND" else [stack.pop()]
            target = self._top(list)
            if isinstance(target, Placeholder):  # a class of lists: numbered
                set_items(target, enumerate(items, start=len(target)))
            else:
                target.extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = self._marked() if name == "SETITEMS" else [stack.pop() for _ in "kv"][::-1]
            set_items(self._top(dict), zip(items[::2], items[1::2], strict=True))
        else:
            return False
        return True

    def _make(self, name: str, argument: Any) -> bool:
        """Run what names, makes or changes objects; False if that is something else."""
        stack = self.stack
        if name == "GLOBAL":
            stack.append(_name(argument))
        elif name == "STACK_GLOBAL":
            module, function = stack[-2:]
            if not isinstance(module, str) or not isinstance(function, str):
                raise TypeError(name)
            stack[-2:] = [_name(f"{module} {function}")]
        elif name in ("REDUCE", "NEWOBJ", "NEWOBJ_EX"):
            if name == "NEWOBJ_EX":
                stack.pop()  # by keywords
            arguments, called = stack.pop(), stack.pop()
            stack.append(self.made(called, arguments))
        elif name == "BUILD":
            state = stack.pop()
            if isinstance(stack[-1], Placeholder):
                stack[-1].build(state)
            elif not isinstance(stack[-1], dict):  # a state dict's own attributes are no weights
                raise ValueError(f"a malformed pickle: a state for {_kind(stack[-1])}")
        elif name == "BINPERSID":
            stack.append(self.storage(stack.pop()))
        else:
            return False
        return True

    def _marked(self) -> list[Any]:
        """Return what came since the last mark."""
        items, self.stack = self.stack, self.below.pop()
        return items

    def _top(self, kind: type) -> Any:
        if not isinstance(self.stack[-1], kind | Placeholder):
            raise ValueError(f"a malformed pickle: expected a {kind.__name__}, got: {_kind(self.stack[-1])}")
        return self.stack[-1]

    def made(self, called: object, arguments: object) -> object:
        """Call a function of ours, or put a placeholder in its place."""
        if not isinstance(called, Name | Placeholder) or not isinstance(arguments, tuple):
            raise ValueError(f"a malformed pickle: it calls {_kind(called)}")
        name = called.text if isinstance(called, Name) else called.name
        if isinstance(called, Name) and name in self.functions:
            return self.functions[name](*arguments)
        self.placeholders.append(Placeholder(name, arguments))
        return self.placeholders[-1]


def set_items(target: dict[Any, Any], items: Iterable[tuple[Any, Any]]) -> None:
    """Put items into a dictionary, those under names and numbers: other keys can take forever to hash."""
    target.update(item for item in items if _is_key(item[0]))


def _is_key(key: object) -> bool:
    return isinstance(key, str) or (isinstance(key, int) and -_LARGEST_KEY < key < _LARGEST_KEY)


def _name(text: str) -> Name:
    if len(text) > _LONGEST_NAME:
        raise ValueError(f"a malformed pickle: a name of {len(text)} letters")
    return Name(text)


def _kind(value: object) -> str:
    return f"something of type {type(value).__name__}"


def _size(name: str, argument: object) -> int:
    """Tell how much memory a step takes."""
    return _SIZES.get(name, _STEP) + (4 * len(argument) if isinstance(argument, str | bytes | bytearray) else 0)
