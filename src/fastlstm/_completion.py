"""``fastlstm completion``: what a shell needs to complete the command line, made from its own parser."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Iterator
from typing import NamedTuple

# What values are called that are files or folders; all others are numbers or names of the user's.
_FILES = {"FILE", "IN", "OUT", "MODEL", "INPUTS", "JSON", "DIR"}


class Argument(NamedTuple):
    """One argument of a command, as shells see it."""

    names: tuple[str, ...]  # of an option; () for a positional argument
    value: str  # what its value is called; "" for a flag
    choices: tuple[str, ...]
    help: str
    times: int = 1  # how many values an option has

    @property
    def is_file(self) -> bool:
        """Whether its value is a file."""
        return self.value in _FILES


class Command(NamedTuple):
    """A command, or (named "") what comes before one."""

    name: str
    help: str
    arguments: tuple[Argument, ...]

    @property
    def options(self) -> tuple[str, ...]:
        """All names of all options."""
        return tuple(name for argument in self.arguments for name in argument.names)

    @property
    def positionals(self) -> tuple[Argument, ...]:
        """What has no name, in order."""
        return tuple(argument for argument in self.arguments if not argument.names)


def commands(parser: argparse.ArgumentParser) -> list[Command]:
    """List what a parser takes: first what it takes itself, then each of its commands."""
    made = [Command("", "", tuple(_arguments(parser)))]
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
            made += [
                Command(name, _line(helps.get(name, "")), tuple(_arguments(each)))
                for name, each in action.choices.items()
            ]
    return made


def _arguments(parser: argparse.ArgumentParser) -> Iterator[Argument]:
    formatter = parser._get_formatter()
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction) or action.help == argparse.SUPPRESS:
            continue
        told = formatter._expand_help(action) if action.help else ""
        value = "" if action.nargs == 0 else str(action.metavar or action.dest).upper()
        times = action.nargs if isinstance(action.nargs, int) else 1
        yield Argument(tuple(action.option_strings), value, tuple(map(str, action.choices or ())), _line(told), times)


def _line(text: str) -> str:
    return " ".join(text.split())


def script(shell: str, parser: argparse.ArgumentParser) -> str:
    """Write what a shell is to read.

    Parameters
    ----------
    shell : str
        One of `SHELLS`.
    parser : argparse.ArgumentParser
        Of the command line.
    """
    return "\n".join([*SHELLS[shell](parser.prog, commands(parser)), ""])


def _bash(program: str, found: list[Command]) -> Iterator[str]:
    names = [command.name for command in found if command.name]
    yield f"""\
_{program}() {{
  local current=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} command= word words=
  if [[ $current == = ]]; then current=; elif [[ $before == = ]]; then before=${{COMP_WORDS[COMP_CWORD-2]}}; fi
  for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
    case $word in {"|".join(names)}) command=$word; break ;; esac
  done
  COMPREPLY=()
  case "$command $before" in"""
    for command in found:
        for argument in (each for each in command.arguments if each.names and each.value):
            pattern = "|".join(f'"{command.name} {name}"' for name in argument.names)
            if argument.choices:
                words = " ".join(argument.choices)
                yield f'    {pattern}) COMPREPLY=($(compgen -W "{words}" -- "$current")); return ;;'
            elif argument.is_file:
                yield f"    {pattern}) return ;;"
            else:  # nothing that a shell could know: no files either
                yield f"    {pattern}) compopt +o default 2> /dev/null; return ;;"
    yield '  esac\n  case "$command $current" in'
    for command in found:
        yield f'    "{command.name} "-*) words="{" ".join(command.options)}" ;;'
        words = " ".join(_of_positionals(command) if command.name else names)
        yield f'    "{command.name} "*) words="{words}" ;;'
    yield f"""\
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -o default -F _{program} {program}"""


def _of_positionals(command: Command) -> list[str]:
    return [choice for argument in command.positionals for choice in argument.choices]


def _zsh(program: str, found: list[Command]) -> Iterator[str]:
    first, *rest = found
    yield f"#compdef {program}\n\n_{program}() {{\n  local context state line\n  typeset -A opt_args"
    listed = " ".join(_quoted(f"{command.name}:{command.help}") for command in rest)
    yield f"  local -a commands=({listed})"
    yield f"  _arguments -C {' '.join(_specified(first))} '1:command:->command' '*::argument:->argument'"
    yield "  case $state in\n    command) _describe command commands ;;\n    argument)\n      case $words[1] in"
    for command in rest:
        yield f"        {command.name}) _arguments {' '.join(_specified(command))} ;;"
    yield "      esac ;;\n  esac\n}"
    # read as a file of functions it is the function's body; read by `source` or `eval` it has to be told of it
    yield f'if [[ $funcstack[1] == _{program} ]]; then _{program} "$@"; else compdef _{program} {program}; fi'


def _specified(command: Command) -> Iterator[str]:
    """Write the arguments of a command as _arguments of zsh has them."""
    number = 0
    for argument in command.arguments:
        values = f"({' '.join(argument.choices)})" if argument.choices else "_files" if argument.is_file else " "
        value = f":{argument.value}:{values}" * argument.times if argument.value else ""
        for name in argument.names:
            others = f"({' '.join(argument.names)})" if len(argument.names) > 1 else ""
            told = "".join(f"\\{letter}" if letter in "[]\\:" else letter for letter in argument.help)
            yield _quoted(f"{others}{name}{'=' if value and name.startswith('--') else ''}[{told}]{value}")
        if not argument.names:
            number += 1
            yield _quoted(f"{number}{value}")


def _fish(program: str, found: list[Command]) -> Iterator[str]:
    yield f"complete -c {program} -f"
    for command in found:
        seen = f"__fish_seen_subcommand_from {command.name}" if command.name else "__fish_use_subcommand"
        when = f"complete -c {program} -n {_quoted(seen)}"
        if command.name:
            yield f"complete -c {program} -n __fish_use_subcommand -a {command.name} -d {_quoted(command.help)}"
        if any(argument.is_file for argument in command.positionals):
            yield f"{when} -F"
        for argument in command.arguments:
            choices = f" -a {_quoted(' '.join(argument.choices))}" if argument.choices else ""
            value = "" if not argument.names or not argument.value else " -r -F" if argument.is_file else " -x"
            named = "".join(f" -{'l' if name.startswith('--') else 's'} {name.lstrip('-')}" for name in argument.names)
            if argument.is_file and argument.times > 1:  # fish knows of one value
                given = f"{seen}; and __fish_contains_opt {argument.names[-1].lstrip('-')}"
                yield f"complete -c {program} -n {_quoted(given)} -F"
            if named or choices:
                yield f"{when}{named}{value}{choices} -d {_quoted(argument.help)}"


def _quoted(text: str) -> str:
    return shlex.quote(text)


SHELLS: dict[str, Callable[[str, list[Command]], Iterator[str]]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}
"""Who can be told, and what writes it."""
