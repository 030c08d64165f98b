"""warehouse: picks the goods and books them. Healthy; it starts a trace where its caller sends none."""

import flask_service

app = flask_service.create()


@app.post("/pick")
def pick():
    flask_service.call("ledger", "/entries")
    return {"picked": True}


flask_service.serve(app)
