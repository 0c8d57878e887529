"""The commands that the README tells a reader to give."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def commands() -> list[str]:
    """The README's bash blocks, one text per block: the first starts JupyterLab."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return [block.partition("```")[0].strip() for block in text.split("```bash\n")[1:]]
