"""Run as tests, the notebooks need kernels: one that dies at its start is started again.

jupyter_client chooses free ports, closes them, and starts the kernel, which opens them again. Of
two kernels that start in the same moment, one may find its port taken, and ends.
"""

import os

from nbval import kernel

# Nor do they take themselves for a learner's, whose progress they would show and keep.
os.environ.pop("JPY_SESSION_NAME", None)
_start = kernel.start_new_kernel


def start_twice(*arguments, **options):
    """As nbval does; once more if the kernel died before it replied."""
    try:
        return _start(*arguments, **options)
    except RuntimeError:
        return _start(*arguments, **options)
    finally:
        # nbval leaves it open, and the test that is next is blamed for it.
        options["stderr"].close()


kernel.start_new_kernel = start_twice
