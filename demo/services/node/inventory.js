// inventory: reserves goods by asking the warehouse, with fetch.
// Fault that can be planted: `inventory-sends-none` (http is instrumented, fetch is not: its requests carry no context).
'use strict';

const telemetry = require('./telemetry');
telemetry.setUp({ undici: !telemetry.hasFault('inventory-sends-none') });
const service = require('./service');

const app = service.create();

app.post('/reserve', async (request, response) => {
  // The tenant goes on by hand whichever way it came: where no baggage leaves, it would be lost with it.
  await service.callByFetch(request, 'warehouse', '/pick', { 'x-tenant-id': telemetry.tenantOf(request.headers) });
  response.json({ reserved: true });
});

service.serve(app);
