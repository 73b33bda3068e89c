"""C code that each process compiles at first use, in a quarter of a second.

The library is written to a private temporary folder and deleted once loaded, so that one built by
another user, processor or version is never loaded.
"""

import ctypes
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

# Sums may be reordered, which lets the compiler vectorise them.
VECTORS = ("-march=native", "-fassociative-math", "-fno-signed-zeros", "-fno-trapping-math")
FLAGS = ("-std=c11", "-O3", *VECTORS, "-fopenmp", "-shared", "-fPIC", "-w")
MOST_SECONDS = 60


def load_library(source: Path, *options: str) -> ctypes.CDLL | None:
    """Compile and load a C file; return None if that fails.

    Args:
        source: The file.
        options: Further options of the compiler, such as ``-Dreal=double``.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    try:
        with TemporaryDirectory(prefix="mvcn-", ignore_cleanup_errors=True) as folder:
            library = Path(folder) / "library.so"
            subprocess.run(
                [compiler, *FLAGS, *options, str(source), "-o", str(library)],
                check=True,
                timeout=MOST_SECONDS,
                stdin=subprocess.DEVNULL,
                capture_output=True,
            )
            return ctypes.CDLL(str(library))
    except (OSError, subprocess.SubprocessError):
        return None
