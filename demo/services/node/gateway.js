// gateway: takes orders in and gives each trace its weight. The sampling decision of nearly every trace falls here.
// Fault that can be planted: `gateway-halves-globex` (the tenant globex is sampled at half of what its rule says).
'use strict';

const telemetry = require('./telemetry');
telemetry.setUp({ ratios: telemetry.hasFault('gateway-halves-globex') ? { globex: 0.25 } : {} });
const service = require('./service');

const declared = JSON.parse(process.env.TENANT_RATIOS);
const app = service.create();

app.post('/orders', async (request, response) => {
  const ratio = declared[telemetry.tenantOf(request.headers)] ?? declared.default;
  const status = await service.call(request, 'checkout', '/checkout', { 'x-trace-weight': String(ratio) });
  response.status(status).json({ ordered: true });
});

service.serve(app);
