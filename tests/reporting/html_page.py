"""What is on a page, read with a parser."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import unquote

_VOID = {"meta", "img", "br", "hr", "link", "input", "wbr"}


@dataclass
class Element:
    """An element of a page: its name, attributes, children and the text in it."""

    name: str
    attributes: dict[str, str]
    parent: "Element | None" = None
    children: list["Element"] = field(default_factory=list)
    pieces: list["str | Element"] = field(default_factory=list)

    @property
    def text(self):
        whole = "".join(p if isinstance(p, str) else p.text for p in self.pieces)
        return " ".join(whole.split())

    @property
    def classes(self):
        return self.attributes.get("class", "").split()

    def all(self, name, css_class=""):
        """The elements below this one of a name and a class, in order."""
        found = []
        for child in self.children:
            if child.name == name and (not css_class or css_class in child.classes):
                found.append(child)
            found += child.all(name, css_class)
        return found


class _Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.root = self.at = Element("", {})

    def handle_starttag(self, name, attributes):
        element = Element(name, {k: v or "" for k, v in attributes}, self.at)
        self.at.children.append(element)
        self.at.pieces.append(element)
        if name not in _VOID:
            self.at = element

    def handle_endtag(self, name):
        assert self.at.name == name, f"<{self.at.name}> is closed by </{name}>"
        self.at = self.at.parent

    def handle_data(self, data):
        self.at.pieces.append(data)


def read_page(path):
    """The root of a page; every element must be closed."""
    reader = _Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    reader.close()
    assert reader.at is reader.root
    return reader.root


def findings(page):
    """The results at the top: (label, value, name of the row)."""
    return [
        tuple(item.all("span", css)[0].text for css in ("label", "value", "name"))
        for section in page.all("ul", "findings")
        for item in section.all("li")
    ]


def assert_page_is_whole(path):
    """A page needs nothing from outside, its links lead somewhere, its tables have room."""
    page = read_page(path)
    links = [link.attributes["href"] for link in page.all("a")]
    for link in links:
        assert (path.parent / unquoted(link)).exists(), link
    for image in page.all("img"):
        assert image.attributes["src"].startswith("data:image/png;base64,")
    assert not page.all("link")
    assert not [script for script in page.all("script") if "src" in script.attributes]
    for table in page.all("table"):
        assert table.parent.classes == ["scroll"]
        headings = [heading.text for heading in table.all("th")]
        for row in [
            row for part in ("tbody", "tfoot") for p in table.all(part) for row in p.all("tr")
        ]:
            assert [cell.attributes["data-label"] for cell in row.all("td")] == headings
    return page


def unquoted(link):
    assert ":" not in link
    assert not link.startswith("/")
    return unquote(link)
