"""Real servers for real requests: a WSGI app, an ASGI app, or CherryPy, on a free loopback port.

    with servers.wsgi(app) as server:
        httpx.get(server.url)

Each server runs in threads of this process: `wsgi` is waitress, `asgi` is uvicorn, and
`cherrypy` is CherryPy's own. `stop`, or the end of the block, also after an error, stops
accepting, answers what has been accepted, and returns when no thread and no port is left.

An exception that an application lets through is noted in `Server.errors` and answered
with status 500 and its class and message as JSON, so that a client can count it. A public
server must not tell its clients so much.

How each server is stopped follows its documentation: https://docs.pylonsproject.org/projects/waitress,
https://www.uvicorn.org/, https://docs.cherrypy.dev/.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, Iterable
from time import monotonic
from typing import Any

from helpers.history import CallError
from helpers.web.server import (
    ERROR_HEADERS,
    HOST,
    TIMEOUT,
    Server,
    ServerError,
    answer,
    described,
    join,
    listening,
)

__all__ = ["Server", "ServerError", "asgi", "cherrypy", "wsgi"]


def wsgi(app: Callable[..., Iterable[bytes]], *, threads: int = 8, port: int = 0) -> Server:
    """Serve a WSGI application (Flask is one) with waitress.

    Args:
        app: the application.
        threads: how many requests it works on at once; further ones wait their turn.
        port: 0 for a free one.

    Raises:
        ServerError: if the port is taken.
        ValueError: if `threads` is less than 1.
    """
    return _Waitress(app, _at_least_one(threads), port)


def asgi(app: Callable[..., Awaitable[None]], *, threads: int = 8, port: int = 0) -> Server:
    """Serve an ASGI application (FastAPI is one) with uvicorn.

    Args:
        app: the application.
        threads: size of the thread pool in which it runs its synchronous functions; the
            default of the framework is 40.
        port: 0 for a free one.

    Raises:
        ServerError: if the port is taken, or the application fails as it starts.
        ValueError: if `threads` is less than 1.
    """
    return _Uvicorn(app, _at_least_one(threads), port)


def cherrypy(
    root: object, config: dict[str, Any] | None = None, *, threads: int = 8, port: int = 0
) -> Server:
    """Serve a tree of CherryPy handlers with CherryPy's own server.

    CherryPy has one engine in a process, hence one server at a time.

    Args:
        root: the object whose exposed methods answer.
        config: as for ``cherrypy.tree.mount``: path -> settings.
        threads: how many requests it works on at once.
        port: 0 for a free one.

    Raises:
        ServerError: if the port is taken, or CherryPy is already serving.
        ValueError: if `threads` is less than 1.
    """
    return _CherryPy(root, config or {}, _at_least_one(threads), port)


def _at_least_one(threads: int) -> int:
    if threads < 1:
        raise ValueError(f"threads must be at least 1, not {threads}")
    return threads


# -- waitress ------------------------------------------------------------------------------


class _Waitress(Server):
    def __init__(self, app: Callable[..., Iterable[bytes]], threads: int, port: int) -> None:
        from waitress import create_server

        super().__init__()
        # Its warnings about waiting requests would be printed over the notebook.
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)
        listener = listening(port)
        self._server = create_server(self._witness(app), sockets=[listener], threads=threads)
        self.url = f"http://{HOST}:{listener.getsockname()[1]}"
        self._listener = listener
        self._told_to_end = False
        self._workers = self._named("waitress-")
        self._loop = threading.Thread(target=self._server.run, name="waitress", daemon=True)
        self._loop.start()

    def _witness(self, app: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
        def witness(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
            try:
                body = app(environ, start_response)
                try:
                    return [b"".join(body)]
                finally:
                    close = getattr(body, "close", None)
                    if close is not None:
                        close()
            except Exception as error:
                self.errors.append(described(error))
                start_response("500 Internal Server Error", ERROR_HEADERS, sys.exc_info())
                return [answer(self.errors[-1])]

        return witness

    def _threads(self) -> list[threading.Thread]:
        return [*self._workers, self._loop]

    def _end(self, deadline: float) -> None:
        if self._told_to_end:
            return
        dispatcher = self._server.task_dispatcher
        self._in_loop(self._stop_accepting)
        # Workers that were told to end take nothing more: a mark would wait for no one.
        stopped_before = dispatcher.stop_count > 0
        if dispatcher.threads:
            if not stopped_before:
                # Requests are served in order: at the mark's turn all before it have begun.
                mark = _Mark()
                dispatcher.add_task(mark)
                mark.reached.wait(max(0.0, deadline - monotonic()))
            dispatcher.shutdown(timeout=max(0.1, deadline - monotonic()))
        if not dispatcher.threads:
            # Only now: a worker that ends its request wakes the loop through the trigger, and
            # would write into whatever has got the number of its closed pipe.
            self._told_to_end = True
            self._in_loop(self._close_channels)

    def _in_loop(self, function: Callable[[], None]) -> None:
        """Have it called by the loop; not before the loop's pipe has been written to."""
        written = threading.Event()

        def when_written() -> None:
            # The loop may be awake for another reason: it must not close the pipe meanwhile.
            written.wait()
            function()

        try:
            self._server.trigger.pull_trigger(when_written)
        finally:
            written.set()

    def _stop_accepting(self) -> None:
        if self._server.accepting:
            self._server.accepting = False
            self._server.del_channel()
            self._server.socket.close()
            self._listener.close()

    def _close_channels(self) -> None:
        for channel in list(self._server.active_channels.values()):
            channel.close_when_flushed = True
        self._server.trigger.close()


class _Mark:
    """A task of waitress's queue that tells when its turn has come."""

    def __init__(self) -> None:
        self.reached = threading.Event()

    def service(self) -> None:
        self.reached.set()

    cancel = service


# -- uvicorn -------------------------------------------------------------------------------


class _Uvicorn(Server):
    def __init__(self, app: Callable[..., Awaitable[None]], threads: int, port: int) -> None:
        import uvicorn

        super().__init__()
        self._app, self._pool = app, threads
        config = uvicorn.Config(
            self._witness, log_config=None, log_level="critical", access_log=False,
            timeout_graceful_shutdown=1, lifespan="on", interface="asgi3",
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._ready = threading.Event()
        listener = listening(port)
        self.url = f"http://{HOST}:{listener.getsockname()[1]}"
        self._loop = threading.Thread(
            target=self._run, args=(listener,), name="uvicorn", daemon=True
        )
        self._loop.start()
        self._ready.wait()
        if not self._server.started:
            join([self._loop], monotonic() + TIMEOUT)
            raise ServerError(f"the application failed as it started: {self._failure()}")

    def _failure(self) -> str:
        return ": ".join(self.errors[-1][:2]) if self.errors else "it did not say why"

    def _run(self, listener: socket.socket) -> None:
        try:
            # uvicorn's way to say that the application did not start.
            with contextlib.suppress(SystemExit):
                asyncio.run(self._serve(listener))
        finally:
            listener.close()
            self._ready.set()

    async def _serve(self, listener: socket.socket) -> None:
        from anyio.to_thread import current_default_thread_limiter

        current_default_thread_limiter().total_tokens = self._pool
        startup = self._server.startup

        async def tell(sockets: list[socket.socket] | None = None) -> None:
            await startup(sockets=sockets)
            self._ready.set()

        self._server.startup = tell  # type: ignore[method-assign]
        await self._server.serve(sockets=[listener])

    async def _witness(self, scope: Any, receive: Any, send: Any) -> None:
        """The application, with its exceptions noted and its 500s replaced by ours."""
        held: list[Any] = []

        async def watch(message: Any) -> None:
            if held or message.get("status", 0) >= 500:
                held.append(message)
            else:
                await send(message)

        try:
            await self._app(scope, receive, watch)
        except Exception as error:
            self.errors.append(described(error))
            if scope["type"] != "http":
                raise
            # Nothing held: the answer had been sent before, and stands.
            held = held and _messages(self.errors[-1])
        for message in held:
            await send(message)

    def _threads(self) -> list[threading.Thread]:
        return [self._loop, *self._named("AnyIO worker")]

    def _end(self, deadline: float) -> None:
        self._server.should_exit = True


def _messages(error: CallError) -> list[dict[str, Any]]:
    headers = [(name.lower().encode(), value.encode()) for name, value in ERROR_HEADERS]
    return [
        {"type": "http.response.start", "status": 500, "headers": headers},
        {"type": "http.response.body", "body": answer(error)},
    ]


# -- CherryPy ------------------------------------------------------------------------------


class _CherryPy(Server):
    def __init__(self, root: object, config: dict[str, Any], threads: int, port: int) -> None:
        import cherrypy

        super().__init__()
        if cherrypy.engine.state not in (
            cherrypy.engine.states.STOPPED,
            cherrypy.engine.states.EXITING,
        ):
            raise ServerError("CherryPy is already serving in this process: stop that server first")
        # CherryPy itself would try a taken port for a second, then say less.
        listening(port).close()
        cherrypy.config.update(
            {
                "server.socket_host": HOST, "server.socket_port": port,
                "server.thread_pool": threads, "server.shutdown_timeout": 1,
                # The default, 5, makes a crowd of clients wait a second for its connections.
                "server.socket_queue_size": 128,
                "engine.autoreload.on": False, "checker.on": False,
                "log.screen": False, "request.error_response": self._note,
            }
        )  # fmt: skip
        self._engine, self._tree, self._http = cherrypy.engine, cherrypy.tree, cherrypy.server
        self._tree.mount(root, "/", config)
        try:
            self._engine.start()
        except BaseException:
            self.stop()
            raise
        self.url = "http://{}:{}".format(*self._http.bound_addr)

    def _note(self) -> None:
        import cherrypy

        error = sys.exc_info()[1]
        assert error is not None
        self.errors.append(described(error))
        cherrypy.response.status = 500
        cherrypy.response.headers.update(dict(ERROR_HEADERS))
        cherrypy.response.body = [answer(self.errors[-1])]

    def _threads(self) -> list[threading.Thread]:
        return self._named("CP Server", "HTTPServer")

    def _end(self, deadline: float) -> None:
        # In a thread of its own, because it waits for requests at work for as long as they take.
        if not self._named("HTTPServer exit"):
            threading.Thread(target=self._exit, name="HTTPServer exit", daemon=True).start()
        join(self._named("HTTPServer exit"), deadline)

    def _exit(self) -> None:
        # What engine.exit() does; but that ends the whole process if a listener raises.
        try:
            self._engine.stop()
        except Exception as error:
            self.errors.append(described(error))
        self._engine.state = self._engine.states.EXITING
        self._tree.apps.clear()
        # The next server is made anew, with the settings of its time.
        self._http.httpserver = None
