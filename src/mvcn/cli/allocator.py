"""Let the C library keep freed memory, which large tensors otherwise give back at every step."""

import ctypes
import sys

M_TRIM_THRESHOLD = -1
M_TOP_PAD = -2
M_MMAP_THRESHOLD = -3
LARGE = 1 << 30
TOP_PAD = 1 << 28


def keep_freed_memory() -> None:
    """Tell glibc to reuse freed blocks instead of asking the kernel for zeroed pages again.

    Measured in `results/bench.json`. It is a choice for a whole process, so the command line makes
    it and the library does not. Elsewhere than on glibc nothing is done.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGE)
        mallopt(M_TRIM_THRESHOLD, LARGE)
        mallopt(M_TOP_PAD, TOP_PAD)
