"""The service of the laboratory with a thread for each connection, which reads from it and waits for what it calls: werkzeug's server
in the place of waitress, whose threads do not read what they work on.
"""

import pathlib
import runpy

import waitress
import werkzeug.serving


class Handler(werkzeug.serving.WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_request(self, *_):
        pass


def serve(application, listen, **_):
    host, port = listen.split(":")
    werkzeug.serving.run_simple(host, int(port), application, threaded=True, request_handler=Handler)


waitress.serve = serve
runpy.run_path(str(pathlib.Path(__file__).parents[1] / "lab/threads.py"), run_name="__main__")
