"""``pycryo watch``: how a run in a folder stands, on the terminal, until it ends."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pycryo.refinement.files.run_state import IterationState, Message, RunState

# Iterations and messages that are shown.
_ITERATIONS, _MESSAGES = 8, 6
_BAR = 30
# Seconds that a run without lock and mark has to leave its mark.
_GRACE = 0.5
_COLOURS = {"running": "cyan", "finished": "green", "stalled": "yellow"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the sub-command."""
    parser.add_argument("folder", type=Path, metavar="RUN", help="output folder of refine, at work or ended")
    parser.add_argument(
        "--once",
        action="store_true",
        help="print how it stands now and end: with 0 if it runs or is finished, with 1 otherwise",
    )
    parser.add_argument("--interval", type=float, default=2.0, metavar="S", help="seconds between looks (default: 2)")


def run(args: argparse.Namespace) -> int:
    """Show the run until it ends, or once; 1 if it did not end well."""
    from pycryo.errors import InputError

    if not 0.1 <= args.interval <= 3600:
        raise InputError(f"--interval must be between 0.1 and 3600 s, not {args.interval:g}")
    state = _look(args.folder)
    try:
        if args.once:
            print(plain(state))
        elif sys.stdout.isatty():
            state = _follow_on_terminal(state, args.interval)
        else:
            state = _follow_in_lines(state, args.interval)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 0
    except BrokenPipeError:  # the reader has seen enough; what is left goes nowhere, without another error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return int(state.state not in ("running", "finished"))


def _look(folder: Path) -> RunState:
    from pycryo.refinement.files.run_state import DEAD, read_state

    state = read_state(folder)
    if state.state == DEAD:
        time.sleep(_GRACE)
        state = read_state(folder)
    return state


def _follow_on_terminal(state: RunState, interval: float) -> RunState:
    from rich.live import Live

    with Live(picture(state), auto_refresh=False, screen=False) as live:
        while not state.is_over:
            time.sleep(interval)
            state = _look(state.folder)
            live.update(picture(state), refresh=True)
    return state


def _follow_in_lines(state: RunState, interval: float) -> RunState:
    """What is new, a line each: iterations, warnings, and changes of the state."""
    print(plain(state), flush=True)
    while not state.is_over:
        time.sleep(interval)
        before, state = state, _look(state.folder)
        for line in news(before, state):
            print(line, flush=True)
    return state


def news(before: RunState, now: RunState) -> list[str]:
    """Lines of what is in the second state and was not in the first."""
    known = {(each.number, each.seconds) for each in before.iterations}
    lines = [_iteration_line(each) for each in now.iterations if (each.number, each.seconds) not in known]
    said = set(before.messages)
    lines += [_message_line(each) for each in now.messages if each.level != "INFO" and each not in said]
    if now.state != before.state:
        lines.append(f"{now.state}: {now.detail}")
    return lines


def plain(state: RunState) -> str:
    """The state as text."""
    lines = [f"{name:<12}{text}" for name, text in facts(state)]
    if rows := state.iterations[-_ITERATIONS:]:
        lines += ["", *(_iteration_line(each) for each in rows)]
    if messages := state.messages[-_MESSAGES:]:
        lines += ["", "last messages", *(f"  {_message_line(each)}" for each in messages)]
    return "\n".join(lines)


def facts(state: RunState) -> list[tuple[str, str]]:
    """Name and value of what the head of the picture tells."""
    found = [("run", str(state.folder)), ("state", f"{state.state}: {state.detail}")]
    if not state.iterations:
        return [*found, ("iteration", "none is done yet")]
    last = state.iterations[-1]
    old = " (before this start)" if state.is_old else ""
    found.append(("iteration", f"{last.number} is done, {last.stage} stage{old}"))
    if last.resolution is not None:
        best = min((each for each in state.iterations if each.resolution), key=lambda each: each.resolution or 0.0)
        text = f"{last.resolution:.2f} Å"
        if best.number != last.number:
            text += f", best {best.resolution:.2f} Å in iteration {best.number}"
        found.append(("resolution", text))
    found.append(("time", f"{_clock(sum(each.seconds or 0.0 for each in state.iterations))} in all iterations"))
    if state.since is not None:
        text = f"iteration {last.number + 1} for {_clock(state.since)}"
        if state.expected:
            share = min(1.0, state.since / state.expected)
            text += f" {_bar(share)}"
            left = state.expected - state.since
            text += f" about {_clock(left)} to go" if left > 0 else " longer than the last one"
        found.append(("now", text))
    if last.decision:
        found.append(("decision", last.decision))
    return found


def picture(state: RunState) -> RenderableType:
    """The state for a terminal."""
    from rich.console import Group
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    head = Table.grid(padding=(0, 2))
    colour = _COLOURS.get(state.state, "red")
    for name, text in facts(state):
        head.add_row(Text(name, style="bold"), Text(text, style=colour if name == "state" else ""))
    parts: list[RenderableType] = [head]
    if state.iterations:
        table = Table(box=None, pad_edge=False, padding=(0, 2), header_style="bold")
        for name in ("iteration", "stage", "resolution Å", "compared to Å", "spread °", "spread Å", "moved °", "time"):
            table.add_column(name, justify="left" if name == "stage" else "right")
        for each in state.iterations[-_ITERATIONS:]:
            values = (each.resolution, each.compared_to, each.spread_rotation, each.spread_shift, each.pose_change)
            table.add_row(str(each.number), each.stage, *map(_value, values), _clock(each.seconds))
        parts += ["", table]
    if state.messages:
        parts.append("")
        for message in state.messages[-_MESSAGES:]:
            style = {"INFO": "dim", "WARNING": "yellow"}.get(message.level, "red")
            parts.append(Text(_message_line(message), style=style, no_wrap=True, overflow="ellipsis"))
    if not state.is_over:
        parts += ["", Text("Ctrl-C ends the watching, not the run.", style="dim")]
    return Panel(Group(*parts), title="pycryo watch", border_style=colour)


def _iteration_line(each: IterationState) -> str:
    return (
        f"iteration {each.number} ({each.stage}): resolution {_value(each.resolution)} Å, compared to "
        f"{_value(each.compared_to)} Å, spread {_value(each.spread_rotation)}° {_value(each.spread_shift)} Å, poses "
        f"moved {_value(each.pose_change)}°, {_clock(each.seconds)}"
    )


def _message_line(each: Message) -> str:
    level = "" if each.level == "INFO" else f"{each.level}: "
    return f"{each.when} {level}{each.text}"


def _bar(share: float) -> str:
    full = round(_BAR * share)
    return f"[{'#' * full}{'.' * (_BAR - full)}] {100 * share:.0f} %"


def _value(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _clock(seconds: float | None) -> str:
    """Such as 7.2 s, 3:07 min and 2:03:07 h."""
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d} min"
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d} h"
