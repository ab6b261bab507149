"""What x264 is told by everything that promises the same bytes for the same frames.

Rate, preset and structure of a stream are their writers' own.
"""

from __future__ import annotations

import platform

_IS_X86 = platform.machine().lower() in ("x86_64", "amd64")

SAME_BYTES: tuple[str, ...] = ("asm=sse4.2",) if _IS_X86 else ()
"""Items of ``x264-params``. With MB-tree and AVX-512 x264 165 reads memory that nobody wrote (its
output follows MALLOC_PERTURB_; seen at widths that are no multiple of 64), and its AVX2 code rounds
otherwise than AVX and SSE 4.2, which agree. Keeping to SSE 4.2 costs 4 % of the time of encoding:
docs/decisions/0010. One thread is needed, too, where bytes have to agree."""
