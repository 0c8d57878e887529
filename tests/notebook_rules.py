"""The rules that every notebook of the course keeps; `test_notebooks.py` applies them.

A rule is a function that takes a notebook and its path and yields what is wrong, in words
that name the cell. Cells are counted from 1, Markdown included.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import core_path
import mistune
import nbformat

MAX_LINES = 12
#: With blank lines; a cell that is longer does not fit beside what it shows.
MAX_HEIGHT = 15
MAX_CODE_IN_A_ROW = 2
SHORTEST_ALTERNATIVE = 40
IGNORED = "nbval-ignore-output"
RAISES = "raises-exception"

TAG = re.compile(rf"{RAISES}|{IGNORED}|exercise|solution|claim:[a-z0-9]+(-[a-z0-9]+)*")
REFUTES = re.compile(r"^(?:[-*] )?\*\*Refutes:\*\* (?P<belief>\S.*)$", re.MULTILINE)
TIME = re.compile(r"^(?:[-*] )?\*\*Time:\*\* (?P<minutes>\d+) minutes\b", re.MULTILINE)
#: What a minute holds: words of prose, lines of code, words of output. An exercise states its own.
PROSE, CODE, OUTPUT = 200, 8, 400
LONGEST, CORE = 45, 25
#: The last notebook, in which an application is repaired, may take longer.
CAPSTONE, CAPSTONE_NUMBER = 75, "19"
MAX_WORDS, MAX_CELLS = 1500, 50
#: A part of the title's time: `core path 25`.
PART = re.compile(r"(?:: |, )(core path|exercise|further) (\d+)(?=,|$)", re.MULTILINE)
#: What tells of one machine or one run.
MACHINE = {
    "an absolute path": re.compile(
        r"(?<![\w.:/])/(?:home|root|Users|tmp|private|var|usr|opt|work|mnt)/|(?<!\w)~/|\b[A-Za-z]:\\\\?\w"
    ),
    "a thread id": re.compile(r"thread id \d|\bstarted (?:daemon )?\d{4,}"),
    "an address": re.compile(r"0x[0-9A-Fa-f]{6,}"),
    "an automatic thread name": re.compile(r"\bThread-\d+"),
}


def cells(notebook, kind=None) -> list[tuple[int, nbformat.NotebookNode]]:
    """Number and cell, of one kind or of all."""
    numbered = enumerate(notebook.cells, 1)
    return [(number, cell) for number, cell in numbered if kind in (None, cell.cell_type)]


def tags(cell) -> list[str]:
    return cell.metadata.get("tags", [])


def longest(path) -> int:
    """How many minutes the notebook may state."""
    return CAPSTONE if path.name.startswith(f"{CAPSTONE_NUMBER}_") else LONGEST


def tree(source: str) -> ast.Module:
    """The syntax tree of a cell, which may use `await` at its top."""
    return compile(source, "cell", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def opening(notebook, path) -> Iterator[str]:
    """The first cell: a title, the belief refuted, the minutes. Solutions name no belief."""
    first = notebook.cells[0] if notebook.cells else None
    if first is None or first.cell_type != "markdown" or not first.source.startswith("# "):
        yield "cell 1 is not a Markdown cell with a title ('# ...')"
        return
    if "solutions" in path.parts:
        return
    belief, time = REFUTES.search(first.source), TIME.search(first.source)
    if belief is None:
        yield "cell 1 has no line '**Refutes:** ...'"
    elif len(belief["belief"]) < 10 and not path.name.startswith("00_"):
        yield "cell 1 refutes nothing: only notebook 00 may have a dash there"
    if time is None:
        yield "cell 1 has no line '**Time:** 25 minutes'"
    elif not minutes(notebook) <= int(time["minutes"]) <= longest(path):
        yield (
            f"cell 1 states {time['minutes']} minutes: it takes {minutes(notebook):.0f}, "
            f"and may take {longest(path)}"
        )


def minutes(notebook) -> float:
    """How long a reader takes who reads all of it, and works on the exercise."""
    code_cells = [cell for _, cell in cells(notebook, "code")]
    prose = [cell.source for _, cell in cells(notebook, "markdown")]
    lines = [line for cell in code_cells for line in cell.source.splitlines()]
    shown = " ".join(_shown(output) for cell in code_cells for output in cell.outputs)
    # The title states the sum.
    rest = "\n\n".join(text for text in prose if not text.startswith("# "))
    exercises = sum(int(time["minutes"]) for time in TIME.finditer(rest))
    code = sum(bool(line.strip()) for line in lines)
    return words(" ".join(prose)) / PROSE + code / CODE + words(shown) / OUTPUT + exercises


def size(notebook, path) -> Iterator[str]:
    if len(notebook.cells) > MAX_CELLS:
        yield f"{len(notebook.cells)} cells: at most {MAX_CELLS}"
    prose = sum(words(cell.source) for _, cell in cells(notebook, "markdown"))
    if prose > MAX_WORDS:
        yield f"{prose} words of prose: at most {MAX_WORDS}"


def core(notebook, path) -> Iterator[str]:
    """What the title states of the core path, of the exercise and of further sections."""
    if "solutions" in path.parts or path.name.startswith("00_") or any(opening(notebook, path)):
        return
    parts = core_path.sections(notebook)
    taken = dict.fromkeys(core_path.KINDS, 0.0)
    for part in parts:
        taken[part.kind] += minutes(part.alone())
    stated = {kind: int(number) for kind, number in PART.findall(notebook.cells[0].source)}
    for kind, time in taken.items():
        if not time <= stated.get(kind, 0) <= (CORE if kind == "core path" else longest(path)):
            yield f"cell 1 states {stated.get(kind, 'no')} minutes of {kind}: it takes {time:.1f}"
    listed = re.findall(r"^(\d+)\. .* \*\(further\)\*$", notebook.cells[0].source, re.MULTILINE)
    marked = [part.number for part in parts if part.kind == "further" and part.number]
    if listed != marked:
        yield f"cell 1 lists the sections {listed} as further: {marked} say that they are"
    if not any(plain_python(notebook, path)):
        code = [cell.source for _, cell in cells(notebook, "code")]
        kept = [number for part in parts if part.kind == "core path" for number in part.code]
        yield from core_path.needs(code, kept)


def words(text: str) -> int:
    """Words to read: without the targets of links and without HTML's tags."""
    return len(re.findall(r"\w+(?:['’-]\w+)*", re.sub(r"\]\([^)]*\)|<[^>]+>", " ", text)))


def _shown(output) -> str:
    """What an output says in words; an image's alternative text is for those who do not see it."""
    data = output.get("data", {})
    if "image/png" in data:
        return ""
    return data.get("text/html") or data.get("text/plain") or output.get("text", "")


def executed(notebook, path) -> Iterator[str]:
    """Execution counts 1..n, and something stored."""
    code = cells(notebook, "code")
    for expected, (number, cell) in enumerate(code, 1):
        if cell.execution_count != expected:
            yield f"cell {number} has execution count {cell.execution_count}, not {expected}"
    if code and not any(cell.outputs for _, cell in code):
        yield "no outputs are stored"


def short(notebook, path) -> Iterator[str]:
    """Blank lines are the formatter's: lines with code on them count, and the height."""
    for number, cell in cells(notebook, "code"):
        lines = sum(bool(line.strip()) for line in cell.source.splitlines())
        if lines > MAX_LINES:
            yield f"cell {number} has {lines} lines of code: at most {MAX_LINES}"
        height = len(cell.source.splitlines())
        if height > MAX_HEIGHT:
            yield f"cell {number} is {height} lines high: at most {MAX_HEIGHT}"


def introduced(notebook, path) -> Iterator[str]:
    """Prose directly before every code cell, or before the code cell that leads to it."""
    row = MAX_CODE_IN_A_ROW
    for number, cell in cells(notebook):
        row = row + 1 if cell.cell_type == "code" else 0
        if row > MAX_CODE_IN_A_ROW:
            yield f"cell {number} is not introduced by prose"
        if cell.cell_type == "markdown" and not cell.source.strip():
            yield f"cell {number} is empty"


def plain_python(notebook, path) -> Iterator[str]:
    """Python only: nbval passes an unknown magic and runs nothing of its cell."""
    for number, cell in cells(notebook, "code"):
        if not cell.source.strip():
            yield f"cell {number} is empty"
        if cell.source.rstrip().endswith(";"):
            yield f"cell {number} ends with ';', which nbval does not honour: write '_ = ...'"
        if re.search(r"#\s*(NBVAL|PYTEST_VALIDATE)_", cell.source):
            yield f"cell {number} has an nbval comment: use a tag"
        try:
            tree(cell.source)
        except SyntaxError as error:
            yield f"cell {number} is not plain Python: {error.msg}"


def vocabulary(notebook, path) -> Iterator[str]:
    """Known tags only, and every claim named once."""
    seen = set()
    for number, cell in cells(notebook):
        for tag in tags(cell):
            if not TAG.fullmatch(tag):
                yield f"cell {number} has the unknown tag {tag!r}"
            elif tag.startswith("claim:") and tag in seen:
                yield f"cell {number} repeats the tag {tag!r}"
            elif tag.startswith("claim:") and IGNORED in tags(cell) and "assert" not in cell.source:
                yield f"cell {number} claims something, but its output is ignored"
            seen.add(tag)


def errors(notebook, path) -> Iterator[str]:
    """`raises-exception` and a stored error belong together."""
    for number, cell in cells(notebook, "code"):
        stored = any(output.output_type == "error" for output in cell.outputs)
        if RAISES in tags(cell) and not stored:
            yield f"cell {number} is tagged {RAISES} but stores no error"
        if stored and RAISES not in tags(cell):
            yield f"cell {number} stores an error without the tag {RAISES}"


def ignored(notebook, path) -> Iterator[str]:
    """Ignored outputs are few (two, or a tenth of the code cells), each beside an assertion."""
    code = cells(notebook, "code")
    ignoring = [place for place, (_, cell) in enumerate(code) if IGNORED in tags(cell)]
    if len(ignoring) > max(2, len(code) // 10):
        yield f"{len(ignoring)} of {len(code)} code cells are tagged {IGNORED}: too many"
    for place in ignoring:
        beside = [cell for _, cell in code[place : place + 2]]
        if not any(_asserts(cell.source) for cell in beside):
            yield f"cell {code[place][0]} is tagged {IGNORED} with no assertion in it or after it"


def _asserts(source: str) -> bool:
    try:
        return any(isinstance(node, ast.Assert) for node in ast.walk(tree(source)))
    except SyntaxError:
        return False


def quiet_threads(notebook, path) -> Iterator[str]:
    """No function that a thread runs prints, nor a function that it calls."""
    functions, targets = {}, []
    for _, cell in cells(notebook, "code"):
        try:
            nodes = list(ast.walk(tree(cell.source)))
        except SyntaxError:
            continue
        functions |= {node.name: node for node in nodes if isinstance(node, ast.FunctionDef)}
        targets += [target for node in nodes for target in _targets(node)]
    seen = set()
    while targets:
        target = targets.pop()
        body = functions.get(target.id) if isinstance(target, ast.Name) else target
        if body is None or body in seen:
            continue
        seen.add(body)
        for call in (node for node in ast.walk(body) if isinstance(node, ast.Call)):
            targets.append(call.func)
            if isinstance(call.func, ast.Name) and call.func.id == "print":
                yield f"{getattr(body, 'name', 'a lambda')}, run by a thread, prints"


def resolved(notebook, path) -> Iterator[str]:
    """Every prediction is met by what was observed, in a later cell."""
    code = cells(notebook, "code")
    for place, (number, cell) in enumerate(code):
        for name in re.findall(r"^(\w+) = predict\(", cell.source, re.MULTILINE):
            later = "\n".join(after.source for _, after in code[place + 1 :])
            if f"{name}.observed(" not in later:
                yield f"cell {number}: no later cell says {name}.observed(...)"


def _targets(node: ast.AST) -> list[ast.expr]:
    """What a call hands to a thread: `target=f`, `submit(f)`, `map(f)`."""
    if not isinstance(node, ast.Call):
        return []
    handed = [keyword.value for keyword in node.keywords if keyword.arg == "target"]
    if isinstance(node.func, ast.Attribute) and node.func.attr in ("submit", "map"):
        handed += node.args[:1]
    return handed


class _Html(HTMLParser):
    """Links and images written as HTML."""

    def __init__(self):
        super().__init__()
        self.links, self.images = [], []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if tag == "img":
            self.images.append((given.get("src") or "", given.get("alt") or ""))


def links_and_images(markdown: str) -> tuple[list[str], list[tuple[str, str]]]:
    """Link targets, and images as (source, alternative text), Markdown's and HTML's."""
    links, images = [], []
    tokens = mistune.create_markdown(renderer=None, plugins=["table"])(markdown)
    while tokens:
        token = tokens.pop(0)
        if token["type"] == "link":
            links.append(token["attrs"]["url"])
        elif token["type"] == "image":
            images.append((token["attrs"]["url"], _text(token)))
        elif token["type"] in ("block_html", "inline_html"):
            html = _Html()
            html.feed(token["raw"])
            links += html.links
            images += html.images
        tokens += token.get("children", [])
    return links, images


def _text(token: dict) -> str:
    return token.get("raw", "") + "".join(_text(child) for child in token.get("children", []))


@cache
def anchors(path: Path) -> set[str]:
    """The anchors of a Markdown file or notebook, as JupyterLab and as GitHub write them."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        markdown = [cell.source for _, cell in cells(nbformat.reads(text, 4), "markdown")]
        text = "\n\n".join(markdown)
    tokens = mistune.create_markdown(renderer=None)(text)
    titles = [_text(token).strip() for token in tokens if token["type"] == "heading"]
    github = [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]
    return {title.replace(" ", "-") for title in titles} | set(github)


def broken(target: str, path: Path) -> str:
    """Why a link in the file `path` does not resolve; empty if it does, or leads to the web."""
    if re.match(r"[a-z][a-z+.-]*:", target):
        return ""
    file, _, anchor = unquote(target).partition("#")
    place = (path.parent / file).resolve() if file else path.resolve()
    if not place.exists():
        return f"{target} leads nowhere"
    if anchor and place.suffix in (".ipynb", ".md") and anchor not in anchors(place):
        return f"{target}: there is no such heading"
    return ""


def linked(notebook, path) -> Iterator[str]:
    """Links resolve, and images in prose have alternative text."""
    for number, cell in cells(notebook, "markdown"):
        links, images = links_and_images(cell.source)
        for target in links + [source for source, _ in images]:
            if reason := broken(target, path):
                yield f"cell {number}: {reason}"
        for source, alternative in images:
            if not alternative.strip():
                yield f"cell {number}: the image {source} has no alternative text"


def neighbours(notebook, path) -> Iterator[str]:
    """The last cell links to the notebooks before and after, where they exist."""
    number = re.match(r"(\d\d)_", path.name)
    if number is None or "solutions" in path.parts or not notebook.cells:
        return
    links, _ = links_and_images(notebook.cells[-1].source)
    for step in (-1, 1):
        for neighbour in path.parent.glob(f"{int(number[1]) + step:02}_*.ipynb"):
            if neighbour.name not in links:
                yield f"the last cell has no link to {neighbour.name}"


def described(notebook, path) -> Iterator[str]:
    """An image output carries its alternative text as text/plain (or as metadata `alt`)."""
    for number, cell in cells(notebook, "code"):
        for output in cell.outputs:
            data = output.get("data", {})
            if not any(kind.startswith("image/") for kind in data):
                continue
            if "image/svg+xml" in data:
                yield f"cell {number} stores an SVG image, which differs from run to run: use PNG"
            text = output.get("metadata", {}).get("alt") or data.get("text/plain", "")
            if text.startswith("<Figure") or len(text) < SHORTEST_ALTERNATIVE:
                yield f"cell {number} shows an image without alternative text"


def metadata(notebook, path) -> Iterator[str]:
    """As `python -m helpers refresh` writes it: without a kernel, JupyterLab stops and asks."""
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        yield "the notebook's kernel is not python3: run 'python -m helpers refresh' on it"
    if "version" in notebook.metadata.get("language_info", {}):
        yield "the notebook names a Python version: run 'python -m helpers refresh' on it"
    if "widgets" in notebook.metadata:
        yield "widget state is stored, which differs from run to run"


def portable(notebook, path) -> Iterator[str]:
    """Nothing stored tells of one machine or of one run."""
    for number, cell in cells(notebook, "code"):
        for output in cell.outputs:
            text = _output_text(output)
            for what, pattern in MACHINE.items():
                if match := pattern.search(text):
                    yield f"cell {number} stores {what}: ...{text[match.start() :][:30]!r}"


def _output_text(output) -> str:
    data = output.get("data", {})
    parts = [output.get("text", ""), output.get("evalue", ""), *output.get("traceback", [])]
    parts += [value for kind, value in data.items() if kind.startswith("text/")]
    return "\n".join(parts)


RULES = [
    opening, size, core, executed, short, introduced, plain_python, vocabulary, errors, ignored,
    quiet_threads, resolved, linked, neighbours, described, metadata, portable,
]  # fmt: skip
