"""What a run prints at its end: the funnel and what it cost; ``shards`` shows the rest."""

from __future__ import annotations

from curation.books import RunBooks


def funnel_table(books: RunBooks) -> str:
    """The funnel as text.

    Args:
        books: books of the run.

    Returns:
        Several lines: inputs, hours in, hours lost for each reason, hours kept.
    """
    funnel, counts = books.funnel, books.counts
    lines = [
        f"inputs   {counts['inputs']} = {counts['done']} done + {counts['rejected']} rejected"
        f" + {counts['dead']} dead",
        f"clips    {books.num_clips} found, {books.num_kept} kept",
        "",
        f"{'hours in':<28}{funnel.in_s / 3600:>10.4f}",
    ]
    lines += [f"  - {reason:<24}{lost / 3600:>10.4f}" for reason, lost in funnel.lost_s.items()]
    if funnel.overlap_s > 0.01:
        lines.append(f"  + {'several tracks at once':<24}{funnel.overlap_s / 3600:>10.4f}")
    share = 100 * funnel.kept_s / funnel.in_s if funnel.in_s else 0.0
    lines.append(f"{'hours kept':<28}{funnel.kept_s / 3600:>10.4f}  ({share:.0f} %)")
    return "\n".join(lines)


def cost_line(books: RunBooks) -> str:
    """What a second of clip cost, as text.

    Args:
        books: books of the run.

    Returns:
        CPU milliseconds of every stage for each second of the clips found, the dearest first;
        what was watched and belongs to no clip is paid by the clips, too.
    """
    if not books.clips_s:
        return ""
    dearest = sorted(books.stage_s.items(), key=lambda item: -item[1])
    costs = [f"{name} {1000 * spent_s / books.clips_s:.1f}" for name, spent_s in dearest]
    return "CPU ms per second of clip: " + ", ".join(costs)
