"""The error pages of Google's front end, for what never reached a container or a bucket."""

from __future__ import annotations

from html import escape

from aiohttp import web

SERVER = "Google Frontend"

_TITLES = {
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    429: "Too Many Requests",
    500: "Internal Server Error",
    502: "Server Error",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}


def error_page(status: int, message: str) -> web.Response:
    """Google's page in the smallest form that keeps its shape: HTML, status in the title, one sentence."""
    title = f"{status} {_TITLES.get(status, 'Error')}"
    return web.Response(
        status=status,
        text=(
            '<html><head>\n<meta http-equiv="content-type" content="text/html;charset=utf-8">\n'
            f"<title>{title}</title>\n</head>\n<body text=#000000 bgcolor=#ffffff>\n"
            f"<h1>Error: {title}</h1>\n<h2>{escape(message)}</h2>\n<h2></h2>\n</body></html>\n"
        ),
        content_type="text/html",
        charset="UTF-8",
        headers={"Server": SERVER},
    )


def page_not_found() -> web.Response:
    """A host that no service has, or a tag that no revision has."""
    return error_page(404, "Page not found")


def reserved_path(path: str) -> web.Response:
    """Google's own 404: the path is reserved on Cloud Run's URLs and never reaches the container."""
    return error_page(404, f"The requested URL {path} was not found on this server.")
