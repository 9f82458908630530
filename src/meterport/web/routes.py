"""How a route that only reads is declared."""

from collections.abc import Callable
from typing import Any, TypeVar

from fastapi import APIRouter

Route = TypeVar("Route", bound=Callable[..., object])


def get(router: APIRouter, path: str, **docs: Any) -> Callable[[Route], Route]:
    """Also for HEAD, and with a slash behind it, which is no other place."""

    def declared(route: Route) -> Route:
        router.add_api_route(path, route, methods=["GET"], **docs)
        for same, methods in ((path, ["HEAD"]), (f"{path}/", ["GET", "HEAD"])):
            router.add_api_route(same, route, methods=methods, include_in_schema=False)
        return route

    return declared
