"""payment: charges the customer and writes it in the ledger.

Faults that can be planted: `payment-drops-weight` (the ledger is called without x-trace-weight), `payment-fails` (one
charge in 25 ends with 503).
"""

import itertools

import flask_service
import telemetry

app = flask_service.create()
charges = itertools.count(1)
DROPPED = ("x-trace-weight",) if telemetry.has_fault("payment-drops-weight") else ()


@app.post("/pay")
def pay():
    if telemetry.has_fault("payment-fails") and next(charges) % 25 == 0:
        return {"error": "the bank does not answer"}, 503
    flask_service.call("ledger", "/entries", without=DROPPED)
    return {"charged": True}


flask_service.serve(app)
