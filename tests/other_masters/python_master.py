"""A master on python-socketio or Flask-SocketIO that does what its standard input says, and prints what it hears.

python python_master.py {socketio,flask,uvicorn,socketio-2020,flask-2020} PORT [REDIS_URL]; one JSON a line, both ways.
The last two are for the libraries of 2020. Under gunicorn: gunicorn OPTIONS "python_master:gunicorn()".
"""

import asyncio
import json
import sys
import threading

EVENTS = ("join", "ping", "update node", "restore node")
STRICT = {"ping_interval": (1, 1), "async_handlers": False}
"""A heartbeat each second, with one of grace; one event at a time, so that their order is seen."""


def say(event, data):
    # in one write: the handlers of two events run at once
    sys.stdout.write(json.dumps({"event": event, "data": data}) + "\n")
    sys.stdout.flush()


class Master:
    refusing = False
    lines = sys.stdin
    loop = None

    def __init__(self, kind, port, redis_url=None):
        self.redis_url = redis_url
        getattr(self, kind.replace("-", "_"))(port)

    def socketio_2020(self, port):
        import eventlet.tpool
        import eventlet.wsgi

        # one thread runs it all, and must not wait for a line
        self.lines = iter(lambda: eventlet.tpool.execute(sys.stdin.readline), "")
        app = self.bare(async_mode="eventlet", **STRICT)
        sock = eventlet.listen(("127.0.0.1", port))
        eventlet.spawn(eventlet.wsgi.server, sock, app, log_output=False)

    def socketio(self, port):
        from werkzeug.serving import make_server

        app = self.bare(async_mode="threading")
        self.serve(lambda: make_server("127.0.0.1", port, app, threaded=True).serve_forever())

    def gunicorn(self, port):
        self.app = self.bare(async_mode="threading")

    def uvicorn(self, port):
        import socketio
        import uvicorn

        app = self.bare("AsyncServer", socketio.ASGIApp, async_mode="asgi")

        async def serve():
            self.loop = asyncio.get_running_loop()
            await uvicorn.Server(uvicorn.Config(app, "127.0.0.1", port, log_level="error")).serve()

        self.serve(lambda: asyncio.run(serve()))

    def bare(self, server="Server", app=None, **options):
        """A server that is given its handlers by name; returns its application."""
        import socketio

        if self.redis_url:
            options["client_manager"] = socketio.RedisManager(self.redis_url)
        self.server = getattr(socketio, server)(**options)
        self.hear(lambda event, handler: self.server.on(event, lambda sid, *data: handler(*data)))

        def connect(sid, environ, auth=None):
            if self.refusing:
                raise socketio.exceptions.ConnectionRefusedError("not now")
            self.sids.add(sid)
            say("connect", auth)

        self.server.on("connect", connect)
        return (app or socketio.WSGIApp)(self.server)

    def flask(self, port):
        self.flask_app(port, {}, {"allow_unsafe_werkzeug": True})

    def flask_2020(self, port):
        self.flask_app(port, STRICT, {})

    def flask_app(self, port, options, run_options):
        import flask
        import flask_socketio

        app = flask.Flask("master")
        outer = flask_socketio.SocketIO(app, async_mode="threading", **options)
        self.server = outer.server
        self.hear(lambda event, handler: outer.on(event)(handler))

        @outer.on("connect")
        def connect(auth=None):
            if self.refusing:
                raise flask_socketio.ConnectionRefusedError("not now")
            self.sids.add(flask.request.sid)
            say("connect", auth)

        self.serve(lambda: outer.run(app, "127.0.0.1", port, **run_options))

    def hear(self, on):
        self.sids = set()
        for event in EVENTS:
            on(event, lambda data, event=event: say(event, data))
        on("disconnect", lambda reason=None: say("disconnect", reason))

    def serve(self, run):
        threading.Thread(target=run, daemon=True).start()

    def obey_all(self):
        for line in self.lines:
            self.obey(*json.loads(line))

    def do(self, method, *args, **options):
        if self.loop:
            asyncio.run_coroutine_threadsafe(method(*args, **options), self.loop)
        else:
            method(*args, **options)

    def obey(self, event, data):
        if event == "kick":
            for sid in list(self.sids):
                if self.loop:
                    self.do(self.server.disconnect, sid)
                else:
                    # that of 2020 waits forever, with its own client too, where that polls
                    self.server.start_background_task(self.server.disconnect, sid)
            self.sids.clear()
        elif event == "refuse":
            self.refusing = data
        elif event == "ask":
            sid = next(iter(self.sids))
            heard = {"callback": lambda *answer: say("answer", list(answer))}
            self.do(self.server.emit, data[0], data[1], to=sid, **heard)
        else:
            self.do(self.server.emit, event, data)


def gunicorn():
    master = Master("gunicorn", 0)
    master.serve(master.obey_all)
    return master.app


if __name__ == "__main__":
    Master(sys.argv[1], int(sys.argv[2]), *sys.argv[3:]).obey_all()
