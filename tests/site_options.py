"""An extension of griffe: the options that verbs share are described on each verb's entry, as `help` shows them."""

from __future__ import annotations

import griffe


class OptionTexts(griffe.Extension):
    """Give each key of a typed dictionary the text that the dictionary's docstring has for it."""

    def on_class_members(self, *, cls, **_):
        if cls.docstring is None or "total" not in cls.keywords:
            return
        for section in cls.docstring.parse("numpy"):
            if section.kind is griffe.DocstringSectionKind.attributes:
                for entry in section.value:
                    cls.members[entry.name].docstring = griffe.Docstring(entry.description)
