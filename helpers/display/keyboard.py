"""Widgets that can be used with the keyboard alone, in JupyterLab as well."""

from __future__ import annotations

from typing import Any

#: JupyterLab takes arrows and Enter from a list or a button that has the focus (ipywidgets#3912),
#: unless it has this attribute.
_SCRIPT = """<script>document.addEventListener("focusin", event => {
    if (event.target.closest(".keeps-its-keys"))
        event.target.setAttribute("data-lm-suppress-shortcuts", "true");
})</script>"""
_SHOWN = {"output_type": "display_data", "metadata": {}, "data": {"text/html": _SCRIPT}}


def keep_keys(box: Any) -> Any:
    """Let what is in a box of ipywidgets have the keys that are meant for it; returns the box."""
    from ipywidgets import Output

    box.children = (*box.children, Output(outputs=(_SHOWN,)))
    return box.add_class("keeps-its-keys")
