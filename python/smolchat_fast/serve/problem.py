"""Errors as clients expect them: one JSON shape, never a framework's own."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from smolchat_fast.serve.answer import (
    DeadlineError,
    EngineError,
    QueueFullError,
    QueueTimeoutError,
    ShuttingDownError,
    TooLargeError,
)
from smolchat_fast.serve.options import OptionError
from smolchat_fast.serve.session import PromptTooLongError

LEGACY_PATH = "/api/chat"


class Problem(Exception):
    """A request that gets an error for an answer.

    Args:
        status: HTTP status.
        message: What is wrong and what to do.
        code: For programs, as OpenAI names it.
        param: The field at fault.
        headers: Further headers.
    """

    def __init__(
        self,
        status: int,
        message: str,
        code: str,
        *,
        param: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param
        self.headers = headers or {}

    @property
    def kind(self) -> str:
        """OpenAI's `type` of the error."""
        if self.status == 429:
            return "rate_limit_error"
        return "server_error" if self.status >= 500 else "invalid_request_error"

    def body(self) -> dict[str, dict[str, str | None]]:
        """OpenAI's error object."""
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}

    def response(self, path: str = "") -> JSONResponse:
        """The HTTP answer; `/api/chat` keeps the `detail` that its clients read."""
        body: dict[str, object] = dict(self.body())
        if path == LEGACY_PATH:
            body["detail"] = self.message
        return JSONResponse(body, self.status, self.headers)


def from_engine(error: EngineError) -> Problem:
    """The problem of a request that the engine refused or gave up."""
    message = str(error)
    if isinstance(error, QueueFullError):
        return Problem(429, message, "queue_full", headers={"Retry-After": str(error.retry_after_s)})
    if isinstance(error, TooLargeError):
        return Problem(400, message, "context_length_exceeded", param="max_tokens")
    if isinstance(error, QueueTimeoutError):
        return Problem(503, message, "queue_timeout", headers={"Retry-After": "5"})
    if isinstance(error, ShuttingDownError):
        return Problem(503, message, "shutting_down", headers={"Retry-After": "5"})
    if isinstance(error, DeadlineError):
        return Problem(504, message, "deadline_exceeded")
    return Problem(500, message, "internal_error")


def from_validation(error: RequestValidationError) -> Problem:
    """The first fault of a body, named as a client would write the field."""
    fault = error.errors()[0]
    if fault["type"] == "json_invalid":
        return Problem(400, f"the body is not JSON: {fault['ctx']['error']}", "invalid_json")
    # A bracket in a name: which of a field's types was tried, no part of the body.
    parts = [part for part in fault["loc"][1:] if "[" not in str(part)]
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
    param = path.lstrip(".") or None
    if param is None:
        return Problem(400, "the body must be a JSON object", "invalid_json")
    message = fault["msg"].removeprefix("Value error, ")
    return Problem(400, f"{param}: {message[:1].lower()}{message[1:]}", "invalid_value", param=param)


EXPECTED = (Problem, EngineError, RequestValidationError, PromptTooLongError, OptionError)
"""What routes raise for requests that cannot be answered."""


def problem_of(error: Exception) -> Problem:
    """The problem that one of `EXPECTED` is."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, EngineError):
        return from_engine(error)
    if isinstance(error, RequestValidationError):
        return from_validation(error)
    if isinstance(error, OptionError):
        return Problem(400, str(error), "invalid_value", param=error.name)
    return Problem(400, str(error), "context_length_exceeded", param="messages")


def install(app: FastAPI) -> None:
    """Let every error of an app leave it in this shape."""

    async def expected(request: Request, error: Exception) -> JSONResponse:
        return problem_of(error).response(request.url.path)

    for kind in EXPECTED:
        app.add_exception_handler(kind, expected)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        path = request.url.path
        headers = dict(error.headers or {})
        if error.status_code == 404:
            paths = {getattr(route, "path", "") for route in app.routes}
            hint = f". Did you mean /v1{path}?" if f"/v1{path}" in paths else ""
            return Problem(404, f"nothing is at {path}{hint}", "not_found").response(path)
        if error.status_code == 405:
            allowed = headers.get("Allow", "")
            message = f"{request.method} is not for {path}; allowed: {allowed}"
            return Problem(405, message, "method_not_allowed", headers=headers).response(path)
        if isinstance(error.__cause__, UnicodeDecodeError):  # FastAPI says only that there was an error
            return Problem(400, "the body is not UTF-8; send JSON in UTF-8", "invalid_json").response(path)
        return Problem(error.status_code, str(error.detail), "invalid_value", headers=headers).response(path)

    @app.exception_handler(Exception)
    async def defect(request: Request, error: Exception) -> JSONResponse:
        message = "the server made a mistake; its log says more"
        return Problem(500, message, "internal_error").response(request.url.path)
