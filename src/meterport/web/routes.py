"""What every route has besides: HEAD where there is GET, and a form with a slash behind it."""

from collections.abc import Sequence

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Match
from starlette.types import Scope

_METHODS = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")


def methods_of(routes: Sequence[BaseRoute], scope: Scope) -> list[str]:
    """All that the request's path has; the framework itself tells those of one route alone."""

    def is_there(method: str) -> bool:
        asked = {**scope, "method": method}
        return any(route.matches(asked)[0] is Match.FULL for route in routes)

    return [method for method in _METHODS if is_there(method)]


def add_twins(router: APIRouter) -> None:
    """Of the routes that it has so far; OpenAPI does not show the twins."""
    for route in [route for route in router.routes if isinstance(route, APIRoute)]:
        path = route.path.removeprefix(router.prefix)
        own = route.methods or set()
        head = {"HEAD"} if "GET" in own else set()
        for twin, methods in ((path, head), (f"{path}/", head | own)):
            if methods:
                router.add_api_route(
                    twin,
                    route.endpoint,
                    methods=sorted(methods),
                    dependencies=route.dependencies,
                    include_in_schema=False,
                )
