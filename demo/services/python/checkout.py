"""checkout: prices an order, reserves its goods, takes the payment. Healthy."""

import flask_service

app = flask_service.create()


@app.post("/checkout")
def checkout():
    flask_service.call("pricing", "/price")
    flask_service.call("inventory", "/reserve")
    paid = flask_service.call("payment", "/pay")
    # A payment that fails is tried again later by the shop's clerks; the customer's order stands.
    return {"accepted": True, "paid": paid == 200}


flask_service.serve(app)
