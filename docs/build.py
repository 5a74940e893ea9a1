"""Builds the documentation as a folder of pages that open from disk, without a network.

    python -m docs.build FOLDER

README.md and the other texts become pages, and the docstrings of the public modules the reference.
A link that leads nowhere, a public name without a place, or anything a page would fetch from the
network is an error.
"""

from __future__ import annotations

import html
import importlib
import posixpath
import re
import shutil
import sys
import warnings
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

import pdoc.doc
import pdoc.render
from jinja2 import pass_context
from markupsafe import Markup
from pdoc.render_helpers import to_html
from pygments.formatters import HtmlFormatter

import lazynet
from docs.themes import by_theme

ROOT = Path(__file__).parent.parent
MODULES = [
    "lazynet",
    "lazynet.nn",
    "lazynet.optim",
    "lazynet.init",
    "lazynet.dynet",
    "lazynet.dynet.dynet_config",
]
SHORT = {"ln": "lazynet", "dy": "lazynet.dynet"}
"""How examples import them."""


class Page(NamedTuple):
    """A text as a page.

    Attributes:
        name: Path within the site, without ".html".
        title: Its first heading.
        html: The text.
        contents: A list of links to its headings, as HTML.
    """

    name: str
    title: str
    html: str
    contents: str


class Broken(Exception):
    """The site is not as it should be."""


# Pages of text


def texts() -> list[Path]:
    """The files that become pages, the one to begin with first."""
    names = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/NOTES.md"]
    first, *last = [ROOT / name for name in names]
    return [first, *sorted((ROOT / "docs").glob("*.md")), *last]


def page_name(path: Path) -> str:
    """Where a text lies within the site."""
    inside = path.relative_to(ROOT).with_suffix("").as_posix()
    return "index" if inside == "README" else inside


def page_of(path: Path, site: Path) -> Page:
    """A text as a page; files of the checkout that it links to are copied into the site."""
    source = path.read_text(encoding="utf-8")
    rendered = to_html(source)
    heading = re.search(r"^# (.+)$", source, re.MULTILINE)
    title = heading[1].replace("`", "") if heading else path.stem
    here = page_name(path)
    pages = {p.resolve(): page_name(p) for p in texts()}

    def target(found: re.Match[str]) -> str:
        link, _, fragment = html.unescape(found["link"]).partition("#")
        if not link or re.match(r"[a-z]+:", link):
            return found[0]
        file = (path.parent / link).resolve()
        if file in pages:
            to = relative(here, pages[file])
        elif file.is_file():
            copy = site / file.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
            to = posixpath.relpath(
                file.relative_to(ROOT).as_posix(), posixpath.dirname(here) or "."
            )
        else:
            raise Broken(f"{path.relative_to(ROOT)} links to {link}, which is no file")
        return f'{found["name"]}="{html.escape(to + "#" * bool(fragment) + fragment)}"'

    linked = re.sub(r'(?P<name>href|src)="(?P<link>[^"]*)"', target, rendered)
    return Page(here, "Overview" if here == "index" else title, linked, rendered.toc_html or "")


def relative(here: str, page: str) -> str:
    """A link from one page to another."""
    return posixpath.relpath(f"{page}.html", posixpath.dirname(here) or ".")


# The reference


RULE = r"=+(?: +=+)+\n"
TABLE = re.compile(
    rf"^(?P<rule>{RULE})(?P<head>.+\n){RULE}(?P<rows>(?:.+\n)+?){RULE}", re.MULTILINE
)


def prepared(docstring: str) -> str:
    """A docstring with Markdown for what it has of reStructuredText: tables, and ``::``."""

    def table(found: re.Match[str]) -> str:
        starts = [column.start() for column in re.finditer("=+", found["rule"])]
        ends = [*starts[1:], None]
        lines = [
            "| " + " | ".join(line[a:b].strip() for a, b in zip(starts, ends)) + " |"
            for line in [found["head"], *found["rows"].splitlines()]
        ]
        lines.insert(1, "|---" * len(starts) + "|")
        return "\n".join(lines) + "\n"

    text = TABLE.sub(table, docstring + "\n")
    text = re.sub(r"^( *)::\n", r"\n", text, flags=re.MULTILINE)
    return re.sub(r"::$", ":", text, flags=re.MULTILINE)


def public(module: Any) -> list[str]:
    """The names of a module that are its users'."""
    own = [n for n, v in vars(module).items() if getattr(v, "__module__", "") == module.__name__]
    names: list[str] = getattr(module, "__all__", [n for n in own if not n.startswith("_")])
    return names


def grouped(module: pdoc.doc.Module) -> list[tuple[str, list[pdoc.doc.Doc[Any]]]]:
    """The public names of a module under titles; without title where there are few."""
    if module.fullname == "lazynet":
        groups = by_theme(lazynet)
    elif module.fullname == "lazynet.dynet":
        groups = by_source(module.obj)
    else:
        groups = {"": public(module.obj)}
    modules = env.globals["all_modules"]

    def member(name: str) -> pdoc.doc.Doc[Any]:
        return modules.get(f"{module.fullname}.{name}") or module.members[name]

    return [(title, [member(n) for n in group]) for title, group in groups.items() if group]


def by_source(package: Any) -> dict[str, list[str]]:
    """The public names of a package by what the first line says of the module they come from."""
    found: dict[str, list[str]] = {}
    for name in public(package):
        home = getattr(getattr(package, name), "__module__", "")
        inside = home.startswith(package.__name__) and home != package.__name__
        text = importlib.import_module(home).__doc__ if inside else "Settings"
        title = re.split(r"[.:;(]", (text or home).partition("\n")[0])[0].replace("`", "").strip()
        found.setdefault(title, []).append(name)
    return found


def find(modules: dict[str, pdoc.doc.Module], name: str) -> tuple[str, str] | None:
    """The module and the place in it of a name such as ``ln.nn.LSTM.step``; None if it has none."""
    first, _, rest = name.partition(".")
    full = f"{SHORT[first]}.{rest}" if first in SHORT else name
    for home in sorted(modules, key=len, reverse=True):
        if full == home:
            return home, ""
        inside = full.removeprefix(f"{home}.")
        if inside != full and modules[home].get(inside) is not None:
            return home, inside
    return None


CODE = r'(<div class="pdoc-code codehilite">.*?</div>|<pre>.*?</pre>)'
DOT = r'(?:\.|</span><span class="o">\.</span><span class="n">)'
NAME = re.compile(rf"(?<=[>(\s])(?:{'|'.join(SHORT)})(?:{DOT}\w+)+")
TEXT = re.compile(r"\b(?:docs/)?\w+\.md\b")


def link_names(text: str, here: str) -> str:
    """Links for names such as ``ln.fuse`` in the code of a page."""
    modules = env.globals["all_modules"]

    def link(found: re.Match[str]) -> str:
        place = find(modules, re.sub(r"<[^>]*>", "", found[0]))
        if place is None:
            return found[0]
        to = relative(here, place[0].replace(".", "/")) + f"#{place[1]}" * bool(place[1])
        return f'<a href="{to}">{found[0]}</a>'

    return NAME.sub(link, text)


@pass_context
def linked(context: Any, text: Any, **options: Any) -> Markup:
    """What pdoc links outside of code, names such as ``ln.fuse`` in all of it, and texts."""
    here = context["module"].modulename.replace(".", "/")
    files = {path.relative_to(ROOT).as_posix(): path for path in texts()}

    def page(found: re.Match[str]) -> str:
        path = files.get(found[0])
        return f'<a href="{relative(here, page_name(path))}">{found[0]}</a>' if path else found[0]

    parts = re.split(CODE, str(text), flags=re.DOTALL)
    parts[::2] = [TEXT.sub(page, original_linkify(context, part, **options)) for part in parts[::2]]
    return Markup(link_names("".join(parts), here))


ARRAY = re.compile(
    r"(?:<[^>]*>|\s)*".join(
        re.escape(
            "numpy . ndarray [ tuple [ typing . Any , ... ] , numpy . dtype [ typing . Any ] ]"
        ).split("\\ ")
    )
)


def signature(spec: Any, colon: bool) -> Markup:
    """A signature, in which an array of any shape and dtype is called one.

    What `**settings` may be stands in the docstring; its annotation is for type checkers.
    """
    kept = [
        p.replace(annotation=p.empty) if p.kind is p.VAR_KEYWORD else p
        for p in spec.parameters.values()
    ]
    spec = spec.replace(parameters=kept)
    return Markup(ARRAY.sub("Array", original_signature(spec, colon)))


def constructor(cls: pdoc.doc.Class) -> pdoc.doc.Doc[Any] | None:
    """What makes objects of a class, if the class says what it takes."""
    made_by_users = "Args:" in cls.docstring or hasattr(cls.obj, "__dataclass_fields__")
    return cls.members.get("__init__") if made_by_users else None


def parts(cls: pdoc.doc.Class) -> tuple[list[pdoc.doc.Doc[Any]], list[pdoc.doc.Doc[Any]]]:
    """Members that a class documents, and those that do what another class says of them."""
    own, overriding = [], []
    for part in cls.own_members:
        documented = part.docstring and part.kind != "class"
        if documented and (part.name == "__call__" or not part.name.startswith("_")):
            thing = vars(cls.obj).get(part.name)
            function = part.kind == "function" or isinstance(thing, property)
            (own if not function or thing.__doc__ else overriding).append(part)
    return own, overriding


def inherited(cls: pdoc.doc.Class, module: pdoc.doc.Module) -> list[tuple[str, str, list[Any]]]:
    """What a class has from others: the name of each, a link to it (or nothing), its members."""
    found = []
    for (home, name), members in cls.inherited_members.items():
        documented = [m for m in members if m.docstring and not m.name.startswith("_")]
        place = next(
            (
                relative(module.modulename.replace(".", "/"), key.replace(".", "/")) + f"#{name}"
                for key, other in env.globals["all_modules"].items()
                if name in public(other.obj) and getattr(other.obj, name).__module__ == home
            ),
            "",
        )
        if documented:
            found.append((name, place, documented))
    return found


def slug(title: str) -> str:
    """A heading as the end of a link; no name of Python's, so that it is nobody else's."""
    return "-" + re.sub(r"\W+", "-", title.lower()).strip("-")


def target(member: pdoc.doc.Doc[Any], module: pdoc.doc.Module) -> str:
    """A link from the page of a module to one of its members."""
    if member.kind == "module":
        here = module.modulename.replace(".", "/")
        return relative(here, member.fullname.replace(".", "/"))
    return f"#{member.qualname}"


env = pdoc.render.env
original_linkify: Any = env.filters["linkify"]
original_signature: Any = env.filters["format_signature"]
original_markdown: Any = env.filters["to_markdown"]


@pass_context
def markdown(context: Any, docstring: str) -> str:
    """A docstring as Markdown."""
    found: str = original_markdown(context, prepared(docstring))
    return found.replace(" - ***", r" - **\*")  # an argument such as *pairs


def build(site: Path) -> None:
    """Write all pages."""
    pdoc.render.configure(
        docformat="google",
        include_undocumented=False,
        show_source=False,
        template_directory=ROOT / "docs" / "templates",
    )
    shutil.rmtree(site, ignore_errors=True)
    site.mkdir(parents=True)
    pages = [page_of(path, site) for path in texts()]
    for name in lazynet.__all__:  # some are imported when first used, and pdoc does not use them
        getattr(lazynet, name)
    modules = {name: pdoc.doc.Module(importlib.import_module(name)) for name in MODULES}
    dark = HtmlFormatter(style="github-dark").get_style_defs(".pdoc-code")
    env.filters.update(
        linkify=linked,
        format_signature=signature,
        to_markdown=markdown,
        slug=slug,
        target=target,
        to=relative,
    )
    env.globals.update(
        pages=pages,
        version=lazynet.__version__,
        grouped=grouped,
        from_others=inherited,
        constructor=constructor,
        parts=parts,
        dark_code=dark,
        all_modules=modules,
    )
    for page in pages:
        page = page._replace(html=link_names(page.html, page.name))
        write(site, page.name, env.get_template("page.html.jinja2").render(page=page))
    for name, module in modules.items():
        write(site, name.replace(".", "/"), pdoc.render.html_module(module, modules))
    (site / "search.js").write_text(pdoc.render.search_index(modules), encoding="utf-8")


def write(site: Path, name: str, text: str) -> None:
    """Write one page."""
    path = site / f"{name}.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


# Checks


class Links(HTMLParser):
    """What a page refers to.

    Attributes:
        ids: The places that links can lead to.
        links: Where its links lead.
        parts: What a browser fetches to show it.
    """

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.parts: list[str] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note ids and addresses."""
        for name, value in attrs:
            if name == "id" and value:
                self.ids.add(value)
            elif name == "href" and value and tag == "a":
                self.links.append(value)
            elif name in ("src", "srcset", "href", "data") and value:
                self.parts.append(value)


def faults(site: Path) -> Iterator[str]:
    """What is wrong with the pages."""
    pages = {path.resolve(): Links(path) for path in site.rglob("*.html")}
    for path, page in pages.items():
        name = path.relative_to(site.resolve())
        for part in [*page.parts, *re.findall(r"url\(\W*([^)]*)", path.read_text("utf-8"))]:
            if re.match(r"(https?:)?//", part):
                yield f"{name}: fetches {part}"
        for link in page.links:
            file, _, fragment = link.partition("#")
            if re.match(r"[a-z]+:", file):
                continue
            to = (path.parent / file).resolve() if file else path
            if not to.is_file():
                yield f"{name}: links to {link}, which is no file"
            elif fragment and to in pages and fragment not in pages[to].ids:
                yield f"{name}: links to {link}, and there is no such place"
    for module in MODULES:
        page = pages[(site / f"{module.replace('.', '/')}.html").resolve()]
        for thing in public(importlib.import_module(module)):
            if f"{module}.{thing}" not in MODULES and thing not in {*page.ids, "__version__"}:
                yield f"{module}.{thing} is not on its page"


def main() -> None:
    """Build, and check what was built."""
    warnings.simplefilter("error", UserWarning)  # of pdoc: what it cannot read of an annotation
    site = Path(sys.argv[1])
    build(site)
    found = sorted(faults(site))
    if found:
        raise Broken("\n".join(found))
    print(f"{len(list(site.rglob('*.html')))} pages: {site / 'index.html'}")


if __name__ == "__main__":
    main()
