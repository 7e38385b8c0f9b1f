"""What stands on a page of the story: its elements by name or class, and its texts."""

from __future__ import annotations

import json
from html.parser import HTMLParser

VOID = {"meta", "link", "br", "img", "input"}
RAW = {"script", "style"}


class Page(HTMLParser):
    """`unbalanced`: tags that end what was not begun, or begin what does not end; in a picture `/>` ends one."""

    def __init__(self, text):
        super().__init__()
        self.elements = []
        self.text = []
        self.raw = {}
        self.unbalanced = []
        self._open = []
        self.feed(text)
        self.close()
        self.unbalanced += self._open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if self._open and self._open[-1] == tag:
            self._open.pop()
        else:
            self.unbalanced.append(f"/{tag}")

    def handle_data(self, data):
        if self._open and self._open[-1] in RAW:
            name = self.elements[-1][1].get("id", self._open[-1])
            self.raw[name] = self.raw.get(name, "") + data
        else:
            self.text.append(data)

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())

    def data(self, name):
        return json.loads(self.raw[name])

    def named(self, tag):
        return [attributes for each, attributes in self.elements if each == tag]

    def of_class(self, *kinds):
        return [each for _, each in self.elements if set(kinds) <= set((each.get("class") or "").split())]


def place(element, name):
    """A share of the axis that an element's style gives, such as where it begins (`--a`)."""
    style = dict(each.split(":") for each in element["style"].split(";"))
    return float(style[name])
