"""A reader of pickles that can only make plain data. Nothing named in the file is imported or called.

Python's own `pickle` calls what a file names. Here a name stays a name; what may be "called" are the functions that the
caller passes in, which make arrays out of descriptions.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from typing import IO, Any, NamedTuple, cast

#: More steps than any state dict takes: a hundred thousand arrays, some forty steps each.
_MOST_STEPS = 4_000_000

_LONGEST_LINE = 2**12

_VALUES = {
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES"),
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class Name(NamedTuple):
    """A class or function that the file names: `module name`."""

    text: str


class Instance(dict[str, Any]):
    """An object of a class that the file names: its attributes, and nothing else of it."""


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
    functions : mapping of str to callable
        What a name that is called stands for.
    instances : callable
        Tells whether a class may have instances here.
    storage : callable
        Makes an object of a persistent id.
    """

    def __init__(
        self,
        functions: Mapping[str, Callable[..., Any]],
        instances: Callable[[str], bool],
        storage: Callable[[Any], Any],
    ) -> None:
        self.functions, self.instances, self.storage = functions, instances, storage
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def load(self, stream: IO[bytes], most: int) -> Any:
        """Read one pickle of at most so many bytes off a stream, and leave the stream behind it."""
        try:
            for step, (opcode, argument, _) in enumerate(pickletools.genops(cast("IO[bytes]", Bounded(stream, most)))):
                if step > _MOST_STEPS:
                    raise ValueError("the pickle is too long for weights")
                if opcode.name == "STOP":
                    return self.stack.pop()
                self._run(opcode.name, argument)
        except (IndexError, KeyError, AttributeError, TypeError, OverflowError) as error:
            raise ValueError(f"a malformed pickle ({error!r})") from None
        raise ValueError("a pickle without an end")

    def _run(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in _VALUES:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in ("EMPTY_DICT", "EMPTY_LIST"):
            stack.append({} if name == "EMPTY_DICT" else [])
        elif name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self.memo[len(self.memo) if name == "MEMOIZE" else argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        elif name == "MARK":
            self.below.append(stack)
            self.stack = []
        elif name == "TUPLE":
            stack = self._marked()
            self.stack.append(tuple(stack))
        elif name in _TUPLES:
            items = stack[-_TUPLES[name] :]
            del stack[-_TUPLES[name] :]
            stack.append(tuple(items))
        elif name in ("APPEND", "APPENDS"):
            items = self._marked() if name == "APPENDS" else [stack.pop()]
            self._top(list).extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = self._marked() if name == "SETITEMS" else [stack.pop() for _ in "kv"][::-1]
            set_items(self._top(dict), zip(items[::2], items[1::2], strict=True))
        elif name == "GLOBAL":
            stack.append(Name(argument))
        elif name == "STACK_GLOBAL":
            *_, module, function = stack
            del stack[-2:]
            stack.append(Name(f"{module} {function}"))
        elif name in ("REDUCE", "NEWOBJ"):
            arguments, called = stack.pop(), stack.pop()
            stack.append(self._made(called, arguments))
        elif name == "BUILD":
            state = stack.pop()
            if isinstance(stack[-1], Instance):
                set_items(stack[-1], state.items())
            elif not isinstance(stack[-1], dict):  # a state dict's own attributes are no weights
                raise ValueError(f"a state for something that has none: {stack[-1]!r:.80}")
        elif name == "BINPERSID":
            stack.append(self.storage(stack.pop()))
        elif name not in ("PROTO", "FRAME"):
            raise ValueError(f"a pickle's instruction {name}, which weights do not need")

    def _marked(self) -> list[Any]:
        """Return what came since the last mark."""
        items, self.stack = self.stack, self.below.pop()
        return items

    def _top(self, kind: type) -> Any:
        if not isinstance(self.stack[-1], kind):
            raise ValueError(f"a malformed pickle: expected a {kind.__name__}, got: {self.stack[-1]!r:.80}")
        return self.stack[-1]

    def _made(self, called: object, arguments: object) -> object:
        if not isinstance(called, Name) or not isinstance(arguments, tuple):
            raise ValueError(f"a malformed pickle: it calls {called!r:.80}")
        if called.text in self.functions:
            return self.functions[called.text](*arguments)
        if not arguments and self.instances(called.text):
            return Instance()
        raise ValueError(
            f"it wants to run {'.'.join(called.text.split())}, which is not data, and nothing in a file is ever run. "
            "Save the weights alone: torch.save(model.state_dict(), path)"
        )


def set_items(target: dict[Any, Any], items: Any) -> None:
    """Put items into a dictionary; keys of nested tuples can take forever to hash."""
    for key, value in items:
        if not isinstance(key, str | int):
            raise ValueError(f"a dictionary's keys should be names or numbers, got: {type(key).__name__}")
        target[key] = value
