"""What every route has besides: HEAD where there is GET, and a form with a slash behind it."""

from fastapi import APIRouter
from fastapi.routing import APIRoute


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
