"""A master on python-socketio or Flask-SocketIO that does what its standard input says, and prints what it hears.

python python_master.py {socketio,flask} PORT; one JSON a line, both ways.
"""

import json
import sys
import threading

EVENTS = ("join", "ping", "update node", "restore node")


def say(event, data):
    # in one write: the handlers of two events run at once
    sys.stdout.write(json.dumps({"event": event, "data": data}) + "\n")
    sys.stdout.flush()


class Master:
    refusing = False

    def __init__(self, kind, port):
        getattr(self, kind)(port)

    def socketio(self, port):
        import socketio
        from werkzeug.serving import make_server

        self.server = socketio.Server(async_mode="threading")
        self.hear(lambda event, handler: self.server.on(event, lambda sid, *data: handler(*data)))

        def connect(sid, environ, auth):
            if self.refusing:
                raise socketio.exceptions.ConnectionRefusedError("not now")
            self.sids.add(sid)
            say("connect", auth)

        self.server.on("connect", connect)
        self.serve(
            lambda: make_server(
                "127.0.0.1", port, socketio.WSGIApp(self.server), threaded=True
            ).serve_forever()
        )

    def flask(self, port):
        import flask
        import flask_socketio

        app = flask.Flask("master")
        outer = flask_socketio.SocketIO(app, async_mode="threading")
        self.server = outer.server
        self.hear(lambda event, handler: outer.on(event)(handler))

        @outer.on("connect")
        def connect(auth=None):
            if self.refusing:
                raise flask_socketio.ConnectionRefusedError("not now")
            self.sids.add(flask.request.sid)
            say("connect", auth)

        self.serve(lambda: outer.run(app, "127.0.0.1", port, allow_unsafe_werkzeug=True))

    def hear(self, on):
        self.sids = set()
        for event in EVENTS:
            on(event, lambda data, event=event: say(event, data))
        on("disconnect", lambda reason=None: say("disconnect", reason))

    def serve(self, run):
        threading.Thread(target=run, daemon=True).start()

    def obey(self, event, data):
        if event == "kick":
            for sid in list(self.sids):
                self.server.disconnect(sid)
            self.sids.clear()
        elif event == "refuse":
            self.refusing = data
        elif event == "ask":
            sid = next(iter(self.sids))
            self.server.emit(data[0], data[1], to=sid, callback=lambda *answer: say("answer", list(answer)))
        else:
            self.server.emit(event, data)


if __name__ == "__main__":
    master = Master(sys.argv[1], int(sys.argv[2]))
    for line in sys.stdin:
        master.obey(*json.loads(line))
