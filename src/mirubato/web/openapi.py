"""GET /api/openapi.json and /docs: the API described, from `openapi.toml`, which a test holds to the routes."""

import html
import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

_PLACE = re.compile(r"{(\w+)}")
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
html { color-scheme: light dark }
code, pre { font: 13px ui-monospace, monospace } dt { margin-top: 1rem; font-weight: 600 } dd { margin-left: 1.5rem }
"""
# The page has neither scripts nor anything from elsewhere.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


class OpenApi:
    """The two routes."""

    def __init__(self, version: str) -> None:
        self._version = version

    def routes(self) -> list[Route]:
        """For the web port."""
        return [Route("/api/openapi.json", self._described), Route("/docs", self._read)]

    async def _described(self, _: Request) -> Response:
        return Response(orjson.dumps(description(self._version)), media_type="application/json")

    async def _read(self, _: Request) -> Response:
        return HTMLResponse(page(self._version), headers={"content-security-policy": _POLICY})


@cache
def _table() -> Mapping[str, Any]:
    return tomllib.loads(files("mirubato.web").joinpath("openapi.toml").read_text(encoding="utf-8"))


def description(version: str) -> dict[str, Any]:
    """OpenAPI 3.1."""
    paths: dict[str, dict[str, Any]] = {}
    for route in _table()["route"]:
        paths.setdefault(route["path"], {})[route["method"]] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Mirubato Monitoring", "version": version, "license": {"name": "MIT", "identifier": "MIT"}},
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "basic": {"type": "http", "scheme": "basic"},
                "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
            "schemas": {
                "Error": {
                    "type": "object",
                    "required": ["code", "message"],
                    "properties": {
                        "code": {"type": "string"},
                        "message": {"type": "string"},
                        "field": {"type": "string"},
                    },
                }
            },
        },
        "security": [{}, {"bearer": []}, {"key": []}, {"basic": []}],
    }


def _operation(route: Mapping[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "tags": [route["tag"]],
        "summary": route["summary"],
        "parameters": [*_places(route["path"]), *_query(route.get("query", ()))],
        "responses": {
            "2XX": {"description": "what was asked"},
            "4XX": {
                "description": "what was wrong, and the field or setting to change",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
            },
        },
    }
    if "body" in route:
        content = {"schema": {"type": "object"}, "example": json.loads(route["body"])}
        operation["requestBody"] = {"content": {"application/json": content}}
    return operation


def _places(path: str) -> Iterator[dict[str, Any]]:
    for name in _PLACE.findall(path):
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _query(names: Sequence[str]) -> Iterator[dict[str, Any]]:
    for name in names:
        known = _table()["parameters"][name]
        yield {
            "name": name,
            "in": "query",
            "description": known["description"],
            "schema": {"type": "string"},
            "example": known["example"],
        }


def page(version: str) -> str:
    """The description as HTML, grouped by what it is about."""
    groups: dict[str, list[str]] = {}
    for route in _table()["route"]:
        groups.setdefault(route["tag"], []).append(_entry(route))
    parts = "".join(f"<h2>{tag}</h2><dl>{''.join(entries)}</dl>" for tag, entries in groups.items())
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>API of Mirubato Monitoring</title><style>{_STYLE}</style>"
        f"<h1>API of Mirubato Monitoring {html.escape(version)}</h1>"
        '<p>As a machine reads it: <a href="/api/openapi.json">/api/openapi.json</a></p>' + parts
    )


def _entry(route: Mapping[str, Any]) -> str:
    told = "".join(
        f"<br><code>{html.escape(name)}</code> {html.escape(_table()['parameters'][name]['description'])}"
        for name in route.get("query", ())
    )
    body = f"<pre>{html.escape(route['body'])}</pre>" if "body" in route else ""
    where = f"{route['method'].upper()} {route['path']}"
    return f"<dt><code>{html.escape(where)}</code></dt><dd>{html.escape(route['summary'])}{told}{body}</dd>"
