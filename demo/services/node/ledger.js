// ledger: keeps the books; the end of every trace. Healthy.
'use strict';

require('./telemetry').setUp();
const service = require('./service');

const app = service.create();

app.post('/entries', (request, response) => response.json({ written: true }));
app.post('/rates', (request, response) => response.json({ rate: 1 }));

service.serve(app);
