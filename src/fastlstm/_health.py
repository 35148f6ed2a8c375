"""Health: which units of a layer are stuck, which grow along a stream, and which of them change the answer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _checks
from ._lstm import LSTM
from ._trace import GateTrace
from ._trace_results import Floats
from ._types import Array

_GATES: Final = {"i": "input gate", "f": "forget gate", "o": "output gate"}
_STUCK: Final = {
    ("i", "below"): "it writes nothing: leave it out, or start from a higher input bias",
    ("i", "above"): "it writes at every step: it cannot ignore an input",
    ("f", "below"): "it remembers nothing: a forget bias of 1 at the start lets it learn to",
    ("f", "above"): "it never forgets: reset its state between recordings if it grows",
    ("o", "below"): "nobody sees it: leave it out, or start from a higher output bias",
    ("o", "above"): "it always shows: only its cell decides what is seen",
}
_STILL: Final = 0.01  # what a unit shows changes by less: it does not
_IGNORED: Final = 1e-3  # of what the strongest input does: it does nothing
_GROWN: Final = 1.5  # from the second tenth of a stream to its last
_SMALL: Final = 0.01  # cells that stay below it may grow
_AGREED: Final = 0.1  # of the spread of the fresh answer: the two are the same
_MATTERS: Final = 0.2  # of that spread, over the whole probe: the two differ, if only for a tenth of it
_RESTORED: Final = 0.5  # of the difference: who makes it is found
_ADDED: Final = 0.1  # of the difference: less is no help
_TOGETHER: Final = 4  # units that may make it together
_NAMED: Final = 12  # of many alike, in print
_FIRST: Final = ("effect", "cause", "growth")  # what is printed first: what matters
_ROWS: Final = 64  # knock-outs at a time


class Finding(NamedTuple):
    """One thing that `health` has found."""

    kind: str  #: "shut", "open", "still", "dead input", "growth", "effect" or "cause"
    layer: int
    direction: int
    unit: int | None  #: None where it is not of one unit
    value: float  #: what was measured, for its kind
    text: str  #: what it is, and what to do
    input: str | None = None  #: the name of the input, where it is of one

    def __str__(self) -> str:
        """Write what it is, and where."""
        return _written([self])


class Cause(NamedTuple):
    """A unit whose state makes a difference, by itself or with those before it."""

    layer: int
    unit: int
    restored: float  #: share of the difference, squared, that is gone once it and those before it are zeroed


class Effect(NamedTuple):
    """What the state of a stream does to the answer to a probe."""

    difference: Floats  #: [T]: root mean square between the answers from the stream's state and from a fresh one
    steps: int | None  #: from which on they agree, to a tenth of the fresh answer's spread; None: not within the probe
    restored: Floats  #: [L, H]: share of the difference, squared, that is gone once a unit's state is zeroed
    causes: list[Cause]  #: as few units as take half of it away, the strongest first; none where it is small
    matters: bool  #: they differ for more than half of the probe, or for a tenth and by much; see `health`


@dataclasses.dataclass(frozen=True)
class Health:
    """What `health` returns; printed, its findings one by one."""

    findings: list[Finding]
    half_life: Floats  #: [L, D, K]: steps until half of a cell is forgotten
    listens_to: NDArray[np.int64]  #: [L, D, K]: the input of the layer that moves a unit's gates most
    growth: Floats | None  #: [L, D, K]: mean abs(c), last tenth over second; None for rows of less than 20 steps
    effect: Effect | None  #: with a probe

    def __str__(self) -> str:
        """Write what matters first, then the others; a line for all of which the same is to be said."""
        groups: dict[tuple[object, ...], list[Finding]] = {}
        for each in sorted(self.findings, key=_place):
            said = each.text.partition(": ")[2] if each.kind == "growth" else each.text  # of which each has its own
            alike = each.kind, each.layer, each.direction, said, each.unit is None, each.input is None
            groups.setdefault(alike, []).append(each)
        return "\n".join(map(_written, groups.values())) or "nothing found"


def _place(finding: Finding) -> int:
    return _FIRST.index(finding.kind) if finding.kind in _FIRST else len(_FIRST)


def _written(findings: list[Finding]) -> str:
    """Write findings of one text, of some units or inputs."""
    first = max(findings, key=lambda each: each.value)
    text = first.text.replace(" grows ", " grows up to ") if len(findings) > 1 else first.text
    place = f"layer {first.layer}" + (", reverse" if first.direction else "")
    if first.input is not None:
        return f"{place}: {_listed('input', [str(each.input) for each in findings])} {first.text}"
    units = [str(each.unit) for each in findings if each.unit is not None]
    return f"{place}{', ' + _listed('unit', units) if units else ''}: {text}"


def _listed(what: str, names: list[str]) -> str:
    if len(names) == 1:
        return f"{what} {names[0]}"
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"each of {what}s {', '.join(names[:_NAMED])}{more}"


def health(
    trace: GateTrace[Any],
    *,
    inputs: Sequence[str] | None = None,
    lstm: LSTM[Any] | None = None,
    probe: ArrayLike | None = None,
    row: int = 0,
    readout: Callable[[Array], ArrayLike] | None = None,
) -> Health:
    """Look for units that are stuck, inputs that nobody hears, cells that grow, and whether any of it matters.

    Gates that are shut or open at every step, units that never change and inputs that move nothing are dead weight.
    Cells that grow along a stream may be harmless, and large ones too: only a probe tells. It is answered from the
    state that the trace ended with and from a fresh one. Then the state of each unit is zeroed in turn, to find who
    makes the difference.

    Parameters
    ----------
    trace : GateTrace
        Of all units, over inputs as the layer sees them in use; the longer, the better.
    inputs : sequence of str [I], optional
        Names of the inputs, for the findings.
    lstm : LSTM, optional
        The layer that the trace is of, to answer a probe.
    probe : array [T, I], optional
        A clip whose answer is known to be good from a fresh state.
    row : int
        Whose state of the trace the probe starts from.
    readout : callable, optional
        What the model makes of the layer's outputs, [T, B, R] to [T, B] or [T, B, ...]: a probability, say. Answers are
        compared by that. Without it they are the outputs themselves, which may differ where the model says the same.

    Returns
    -------
    Health
        Findings, each with a sentence of advice; and the numbers they come from.

    Raises
    ------
    ValueError
        For a trace of some units or of tokens, without steps, with a NaN or an infinite input; for a wrong number of
        names; for a probe without the layer, of another shape, or of a bidirectional layer, which has no state to go
        on from; for a layer that is not the trace's; for a readout without a probe, or one that returns another shape;
        for answers with a NaN.
    TypeError
        For other types.

    Notes
    -----
    Growth is a mean of abs(c) in the last tenth of a row above 1.5 times that of its second tenth. Answers agree from
    the step on after which they differ, as a root mean square, by less than a tenth of the fresh one's spread. The
    difference matters where they do not agree within half of the probe; or within a tenth of it, if over all of it
    they differ by a fifth of that spread. Then causes are looked for. The unit that takes most of the squared
    difference away comes first. Others join it, each the one that helps most, until half is gone. Where that fails,
    each of several units may do it all: those come next that make the difference alone, from an otherwise fresh state.
    If four do not suffice, nobody is named.

    Examples
    --------
    >>> import numpy as np, fastlstm
    >>> lstm = fastlstm.LSTM(4, 3, seed=0)
    >>> x = np.random.default_rng(0).standard_normal((500, 4)).astype(np.float32)
    >>> x[:, 2] = 0
    >>> print(fastlstm.health(lstm.trace(x), inputs=["low", "mid", "high", "top"]))
    layer 0: input high never changes: check where it comes from
    """
    if not isinstance(trace, GateTrace):
        raise TypeError(f"trace should be a GateTrace, which LSTM.trace makes, got: {type(trace).__name__}")
    trace._need_all("health needs")
    if readout is not None and probe is None:
        raise ValueError("readout goes with a probe")
    if not (readout is None or callable(readout)):
        raise TypeError(f"readout should be a function of the layer's outputs, got: {type(readout).__name__}")
    names = _names(inputs, trace)
    found = list(_stuck(trace))  # first: it looks for NaN
    strength, constant = _strengths(trace)
    growth = _growth(trace)
    effect = None
    if probe is not None:
        effect = _effect(_Probe(trace, _checked_layer(lstm, trace), probe, row, readout))
    found += _dead(strength, constant, names)
    found += _grown(trace, growth, effect)
    found += [] if effect is None else _effects(effect, trace.half_life())
    listens = np.stack([np.stack([each.sum(axis=0).argmax(axis=1) for each in layer]) for layer in strength])
    return Health(found, trace.half_life(), listens, growth, effect)


# ---- (a) what is stuck ----------------------------------------------------------------------------------------------


def _names(inputs: Sequence[str] | None, trace: GateTrace[Any]) -> list[str]:
    I = trace._layer.sizes.I
    names = [str(k) for k in range(I)] if inputs is None else [str(name) for name in inputs]
    if isinstance(inputs, str | set | frozenset) or len(names) != I:  # a set has no order
        raise ValueError(f"inputs should be {I} names, one for each input, got: {inputs!r}")
    return names


def _stuck(trace: GateTrace[Any]) -> Iterator[Finding]:
    """Gates that never move from an end, and units that do not change at all."""
    shares = trace.saturation()
    for gate, name in _GATES.items():
        for end, kind, never in (("below", "shut", "opens"), ("above", "open", "closes")):
            for layer, direction, unit in np.argwhere(getattr(shares[gate], end) == 1).tolist():
                yield Finding(kind, layer, direction, unit, 1.0, f"its {name} never {never}: {_STUCK[gate, end]}")
    shown = trace.tanh_c[:, :, trace.valid].astype(np.float64)
    if shown.shape[2] < 2:  # what was seen once could not change
        return
    spread = shown.max(axis=2) - shown.min(axis=2)
    for layer, direction, unit in np.argwhere(spread < _STILL).tolist():
        change = float(spread[layer, direction, unit])
        yield Finding("still", layer, direction, unit, change, "it never changes: it is a bias by another name")


def _strengths(trace: GateTrace[Any]) -> tuple[list[list[Floats]], NDArray[np.bool_]]:
    """Return how far each input moves each gate, [L][D] of [4, H, I_l], and which inputs of the first never change."""
    if trace._x is None:
        raise ValueError("health needs the inputs, which a trace of tokens does not have: trace the vectors")
    sizes, parameters = trace._layer.sizes, trace._layer.parameters
    made, x = [], trace._x
    constant = np.zeros(sizes.I, bool)
    for layer in range(sizes.L):
        seen = x[trace.valid].astype(np.float64)
        if layer == 0:
            constant = seen.max(axis=0) == seen.min(axis=0)
        with np.errstate(invalid="ignore", over="ignore"):
            deviation = seen.std(axis=0)
        if not np.isfinite(deviation).all():
            column = int(np.isfinite(deviation).argmin())
            raise ValueError(f"input {column} of layer {layer} is infinite in a step, or too large")
        weights = (parameters[f"weight_ih{s}"] for s in sizes.suffixes[layer * sizes.D : (layer + 1) * sizes.D])
        made.append([np.abs(w.astype(np.float64)).reshape(4, sizes.H, -1) * deviation for w in weights])
        x = np.concatenate(list(trace.h[layer]), axis=-1)
    return made, constant


def _dead(strength: list[list[Floats]], constant: NDArray[np.bool_], names: list[str]) -> Iterator[Finding]:
    for layer, directions in enumerate(strength):
        moved = np.max([each.max(axis=(0, 1)) for each in directions], axis=0)
        for column in np.flatnonzero(moved < _IGNORED * moved.max()).tolist():
            value, name = float(moved[column]), str(column) if layer else names[column]
            if layer:
                text = "of the layer below moves no gate: that unit could be left out"
            elif constant[column]:
                text = "never changes: check where it comes from"
            else:
                text = "moves no gate: the layer could do without it"
            yield Finding("dead input", layer, 0, None, value, text, name)


# ---- (b) what grows -------------------------------------------------------------------------------------------------


def _growth(trace: GateTrace[Any]) -> Floats | None:
    """Mean abs(c) of the last tenth of rows over that of their second; None where none is long enough."""
    counts = np.count_nonzero(trace.valid, axis=0)
    step = np.arange(len(trace.steps))[:, np.newaxis]
    early = (step >= counts // 10) & (step < 2 * (counts // 10)) & (counts >= 20)
    late = (step >= counts - counts // 10) & (step < counts) & (counts >= 20)
    if not early.any():
        return None
    size = np.abs(trace.c).astype(np.float64)
    before, after = size[:, :, early].mean(axis=2), size[:, :, late].mean(axis=2)
    made: Floats = np.where(after < _SMALL, 1.0, after / np.maximum(before, np.finfo(np.float32).tiny))
    return made


def _grown(trace: GateTrace[Any], growth: Floats | None, effect: Effect | None) -> Iterator[Finding]:
    if growth is None:
        return
    for layer, direction, unit in np.argwhere(growth > _GROWN).tolist():
        ratio = float(growth[layer, direction, unit])
        advice = "a probe tells whether it matters" if effect is None else _part_in(effect, layer, unit)
        yield Finding(
            "growth", layer, direction, unit, ratio, f"its cell grows {ratio:.3g} times along the stream: {advice}"
        )


def _part_in(effect: Effect, layer: int, unit: int) -> str:
    """Tell what a unit that grows has to do with the answer."""
    if not effect.matters:
        return f"the answer to the probe is the fresh one from step {effect.steps} on"
    if (layer, unit) in [(cause.layer, cause.unit) for cause in effect.causes]:
        return "it makes the difference to a fresh answer"
    share = effect.restored[layer, unit]
    taken = f"{share:.0%}" if share >= 0.005 else "nothing"
    return f"zeroing its state alone takes {taken} of the difference to a fresh answer away"


# ---- (c) what matters -----------------------------------------------------------------------------------------------


def _checked_layer(lstm: object, trace: GateTrace[Any]) -> LSTM[Any]:
    if not isinstance(lstm, LSTM):
        raise TypeError(f"a probe needs lstm=, the layer that the trace is of, got: {type(lstm).__name__}")
    own, other = trace._layer, lstm._origin.traced
    same = own.sizes == other.sizes and own.form == other.form
    if not same or not all(np.array_equal(own.parameters[name], other.parameters[name]) for name in own.parameters):
        raise ValueError("lstm is another layer than the trace's, or has other weights by now")
    lstm._need_one_direction("a probe needs a unidirectional layer")
    return lstm


class _Probe:
    """A probe, and the state that a stream has left; both checked."""

    def __init__(
        self,
        trace: GateTrace[Any],
        lstm: LSTM[Any],
        probe: ArrayLike,
        row: int,
        readout: Callable[[Array], ArrayLike] | None,
    ) -> None:
        x = _checks.floats(probe, "probe", lstm.dtype)
        if x.ndim != 2 or x.shape[1] != lstm.input_size or not len(x):
            raise ValueError(f"probe should be of shape [T, {lstm.input_size}], T > 0, got: {list(x.shape)}")
        rows = len(trace.lengths)
        if not 0 <= _checks.integer(row, "row") < rows:
            raise ValueError(f"row should be in 0..{rows - 1}, got: {row}")
        self._x, self._lstm, self._readout = x, lstm, readout
        self.h, self.c = (state.reshape(lstm.num_layers, rows, -1)[:, row] for state in (trace.h_n, trace.c_n))

    def answers(self, h: Array, c: Array) -> Floats:
        """Return the answers [T, n, ...] from n states [n, L, R], [n, L, H]."""
        x, is_turned = self._x, self._lstm.batch_first
        given = np.broadcast_to(x[:, np.newaxis], (len(x), len(h), x.shape[1]))
        state = tuple(np.ascontiguousarray(part.swapaxes(0, 1)) for part in (h, c))
        output, _ = self._lstm(given.swapaxes(0, 1) if is_turned else given, (state[0], state[1]))
        output = output.swapaxes(0, 1) if is_turned else output
        if self._readout is None:
            return output.astype(np.float64, order="C")
        told = np.asarray(self._readout(np.ascontiguousarray(output)))
        if told.shape[:2] != output.shape[:2] or told.dtype.kind in "cOSUMm":  # not: bfloat16, a kind of its own
            got = f"{told.dtype} {list(told.shape)}"
            raise ValueError(f"readout should return numbers [{len(x)}, {len(h)}, ...] here, got: {got}")
        return told.astype(np.float64).reshape(*output.shape[:2], -1)

    def zeroed(self, fresh: Floats, gone: list[int]) -> Floats:
        """Return the squared differences [L * H] to the fresh answer that each unit leaves, zeroed with those gone."""
        return self._differences(fresh, lambda units: _without(self.h, self.c, units, gone))

    def put_in(self, fresh: Floats) -> Floats:
        """Return those [L * H] that each unit makes by itself, the others being fresh."""
        return self._differences(fresh, lambda units: _alone(self.h, self.c, units))

    def _differences(self, fresh: Floats, states: Callable[[NDArray[np.int64]], tuple[Array, Array]]) -> Floats:
        made = np.zeros(self.c.size)
        for start in range(0, made.size, _ROWS):
            units = np.arange(start, min(start + _ROWS, made.size))
            answers = self.answers(*states(units))
            made[units] = np.square(answers - fresh[:, np.newaxis]).mean(axis=2).sum(axis=0)
        return made


def _effect(probe: _Probe) -> Effect:
    h, c = probe.h, probe.c
    fresh = probe.answers(h[np.newaxis] * 0, c[np.newaxis] * 0)[:, 0]
    before = np.square(probe.answers(h[np.newaxis], c[np.newaxis])[:, 0] - fresh).mean(axis=1)
    total = float(before.sum())
    if not np.isfinite(total):
        raise ValueError("the answer to the probe has a NaN or an infinity: check the probe and the readout")
    restored = 1 - probe.zeroed(fresh, []) / total if total else np.zeros(c.size)
    spread = np.sqrt(np.square(fresh - fresh.mean(axis=0)).mean())
    rest = np.sqrt(np.cumsum(before[::-1])[::-1] / np.arange(len(before), 0, -1))  # from each step to the end
    apart = np.flatnonzero(rest > _AGREED * spread)
    steps = int(apart[-1]) + 1 if apart.size else 0
    matters = steps > len(before) // 2 or bool(steps > len(before) // 10 and rest[0] > _MATTERS * spread)
    causes = _causes(probe, fresh, total, restored) if matters else []
    named = [Cause(unit // c.shape[1], unit % c.shape[1], share) for unit, share in causes]
    return Effect(np.sqrt(before), None if steps == len(before) else steps, restored.reshape(c.shape), named, matters)


def _causes(probe: _Probe, fresh: Floats, total: float, restored: Floats) -> list[tuple[int, float]]:
    """Find the fewest units that take half of the difference away: (unit, what it and those before it take away)."""
    found: list[tuple[int, float]] = []
    while len(found) < _TOGETHER:
        unit = int(restored.argmax())
        share, so_far = float(restored[unit]), found[-1][1] if found else 0.0
        if share < so_far + _ADDED:
            break
        found.append((unit, share))
        if share >= _RESTORED:
            return found
        restored = 1 - probe.zeroed(fresh, [unit for unit, _ in found]) / total
    return _causes_by_themselves(probe, fresh, total)


def _causes_by_themselves(probe: _Probe, fresh: Floats, total: float) -> list[tuple[int, float]]:
    """Find them where each would do it alone, so that to zero one changes nothing."""
    made = probe.put_in(fresh)
    strongest = np.argsort(-made, kind="stable")[:_TOGETHER].tolist()
    found: list[tuple[int, float]] = []
    for k, unit in enumerate(strongest):
        if made[unit] < _ADDED * total:
            break
        found.append((unit, 1 - float(probe.zeroed(fresh, strongest[:k])[unit]) / total))
        if found[-1][1] >= _RESTORED:
            return found
    return []


def _without(h: Array, c: Array, units: NDArray[np.int64], gone: list[int]) -> tuple[Array, Array]:
    """Copy the state [L, R], [L, H] once for each unit, which is zeroed, as are those gone: [n, L, R], [n, L, H]."""
    n = len(units)
    hs, cs = np.repeat(h[np.newaxis], n, axis=0), np.repeat(c[np.newaxis], n, axis=0)
    for states in (hs, cs) if h.shape == c.shape else (cs,):  # numbers of a projection belong to no unit
        flat = states.reshape(n, -1)
        flat[np.arange(n), units] = 0
        flat[:, gone] = 0
    return hs, cs


def _alone(h: Array, c: Array, units: NDArray[np.int64]) -> tuple[Array, Array]:
    """Make a fresh state for each unit, which alone keeps its own: [n, L, R], [n, L, H]."""
    n = len(units)
    hs, cs = np.zeros((n, *h.shape), h.dtype), np.zeros((n, *c.shape), c.dtype)
    for states, of in ((hs, h), (cs, c)) if h.shape == c.shape else ((cs, c),):
        states.reshape(n, -1)[np.arange(n), units] = of.reshape(-1)[units]
    return hs, cs


def _effects(effect: Effect, half_life: Floats) -> Iterator[Finding]:
    last = len(effect.restored) - 1
    T = len(effect.difference)
    if effect.matters:
        until = "to its end" if effect.steps is None else f"for {effect.steps} of its {T} steps"
        text = f"the state changes the answer to the probe {until}: reset it before a new recording, or find the cause"
        yield Finding("effect", last, 0, None, float(np.sqrt(np.square(effect.difference).mean())), text)
    for k, (layer, unit, share) in enumerate(effect.causes):
        alone = "alone" if not k else f"as well as that of {_others(effect.causes[:k])}"
        steps = half_life[layer, 0, unit]
        forgets = f"loses half of it in {steps:.3g} steps" if np.isfinite(steps) else "never forgets"
        text = (
            f"zeroing its state {alone} takes {share:.0%} of the difference to a fresh answer away: "
            f"reset this unit, which {forgets}"
        )
        yield Finding("cause", layer, 0, unit, share, text)


def _others(causes: list[Cause]) -> str:
    return " and ".join(f"unit {cause.unit} of layer {cause.layer}" for cause in causes)
