"""What notebooks 11 to 14 leave behind in their kernel: no thread, process or file.

What the kernel itself starts (pyzmq, for large messages) is not the notebook's.

Slow: each notebook is run once more, with a look before its first and after its last cell.
"""

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("1[1-4]_*.ipynb"))


BEFORE = "import threading\n_before = set(threading.enumerate())"
AFTER = """
import gc, psutil
gc.collect()
_left = [
    thread.name
    for thread in threading.enumerate()
    if thread not in _before and not type(thread).__module__.startswith("zmq.")
]
_children = [" ".join(child.cmdline()) for child in psutil.Process().children(recursive=True)]
# Python's own helper of multiprocessing lives as long as the kernel.
print(sorted(_left), [line for line in _children if "resource_tracker" not in line])
"""


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_nothing_is_left(path, tmp_path):
    notebook = nbformat.read(path, as_version=4)
    notebook.cells = [new_code_cell(BEFORE), *notebook.cells, new_code_cell(AFTER)]
    folder = {name: str(tmp_path) for name in ("TMPDIR", "TEMP", "TMP")}
    client = NotebookClient(
        notebook, timeout=120, resources={"metadata": {"path": ROOT / "notebooks"}}
    )
    client.execute(env={**os.environ, **folder})
    assert notebook.cells[-1].outputs[0].text == "[] []\n"
    assert [file.name for file in tmp_path.iterdir()] == []
