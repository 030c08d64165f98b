// discounts: what a customer need not pay, at the ledger's rates. Healthy.
'use strict';

require('./telemetry').setUp();
const service = require('./service');

const app = service.create();

app.get('/discounts', async (request, response) => {
  await service.call(request, 'ledger', '/rates');
  response.json({ discount: 5 });
});

service.serve(app);
