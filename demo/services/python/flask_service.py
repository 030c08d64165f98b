"""A Flask service of the shop: the application with its instrumentation, its door, and its client."""

import os
import threading

import flask
import requests
import waitress
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.instrumentation.requests import RequestsInstrumentor

import telemetry
import truth

_sessions = threading.local()


def create():
    """An instrumented application."""
    telemetry.set_up()
    RequestsInstrumentor().instrument()
    application = flask.Flask(os.environ["OTEL_SERVICE_NAME"])
    FlaskInstrumentor().instrument_app(application, excluded_urls="healthz")
    application.add_url_rule("/healthz", view_func=lambda: "ok")
    return application


def call(peer, path, *, without=()):
    """Posts to another service with the headers of the shop, except those named in `without`; returns the status."""
    if not hasattr(_sessions, "session"):
        _sessions.session = requests.Session()
        _sessions.session.trust_env = False
        _sessions.session.mount("http://", truth.LoggedAdapter(max_retries=0))
    headers = {name: value for name, value in truth.forwarded().items() if name not in without}
    url = os.environ[f"URL_{peer.upper()}"] + path
    return _sessions.session.post(url, headers=headers, json={"items": 1}, timeout=10).status_code


def serve(application):
    """Serves until the parent is gone."""
    truth.end_with_parent()
    waitress.serve(truth.wsgi(application), listen=os.environ["LISTEN"], threads=24, _quiet=True)
