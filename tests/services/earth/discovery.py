"""The two documents that the client asks for when it begins."""

from __future__ import annotations

import importlib.resources
from functools import cache


def described(url):
    """The discovery document: the methods that a reader needs, in our words."""
    text = {"type": "string", "location": "query"}

    def method(name, verb, path, parameter):
        where = {"type": "string", "location": "path", "required": True, "pattern": "^projects/[^/]+$"}
        made = {
            "id": f"earthengine.projects.{name}",
            "httpMethod": verb,
            "path": path,
            "flatPath": path,
            "parameterOrder": [parameter],
            "parameters": {parameter: where},
            "response": {"$ref": "Anything"},
        }
        return made | ({"request": {"$ref": "Anything"}} if verb == "POST" else {})

    methods = {
        "algorithms": {"list": method("algorithms.list", "GET", "v1/{+parent}/algorithms", "parent")},
        "value": {"compute": method("value.compute", "POST", "v1/{+project}/value:compute", "project")},
        "image": {
            "computePixels": method("image.computePixels", "POST", "v1/{+project}/image:computePixels", "project")
        },
    }
    return {
        "kind": "discovery#restDescription",
        "discoveryVersion": "v1",
        "id": "earthengine:v1",
        "name": "earthengine",
        "version": "v1",
        "title": "Earth Engine on this machine",
        "protocol": "rest",
        "rootUrl": f"{url}/",
        "servicePath": "",
        "baseUrl": f"{url}/",
        "batchPath": "batch",
        "parameters": {"alt": text, "key": text, "fields": text, "quotaUser": text, "prettyPrint": text},
        "schemas": {"Anything": {"id": "Anything", "type": "any"}},
        "resources": {"projects": {"resources": {name: {"methods": each} for name, each in methods.items()}}},
    }


@cache
def algorithms():
    """The signatures that the installed client carries for its own tests."""
    return (importlib.resources.files("ee.tests") / "algorithms.json").read_bytes()
