// Sets up the OpenTelemetry SDK of a service: a sampler that decides roots by tenant, the SDK's own propagators.
// No exporter: the observer looks at what the services say to each other, and spans need not leave the process for that.
'use strict';

const { registerInstrumentations } = require('@opentelemetry/instrumentation');
const { ExpressInstrumentation } = require('@opentelemetry/instrumentation-express');
const { HttpInstrumentation } = require('@opentelemetry/instrumentation-http');
const { UndiciInstrumentation } = require('@opentelemetry/instrumentation-undici');
const { NodeTracerProvider, ParentBasedSampler, TraceIdRatioBasedSampler } = require('@opentelemetry/sdk-trace-node');

const hasFault = (name) => (process.env.FAULTS ?? '').split(',').includes(name);

/** The tenant that a request names: its header, else its baggage. */
function tenantOf(headers) {
  if (headers['x-tenant-id']) return headers['x-tenant-id'];
  for (const member of (headers.baggage ?? '').split(',')) {
    const [key, value] = member.split('=');
    if (key.trim() === 'tenant.id') return (value ?? '').trim();
  }
  return 'unknown';
}

/** Samples a share of the traces of each tenant, by trace id. */
class TenantSampler {
  constructor(ratios) {
    this.samplers = new Map(Object.entries(ratios).map(([name, ratio]) => [name, new TraceIdRatioBasedSampler(ratio)]));
  }

  shouldSample(context, traceId, name, kind, attributes) {
    const sampler = this.samplers.get(attributes['tenant.id']) ?? this.samplers.get('default');
    return sampler.shouldSample(context, traceId);
  }

  toString() {
    return 'TenantSampler';
  }
}

/** Instruments http, express and (unless told otherwise) undici, which `fetch` is made of. Call it before requiring them. */
function setUp({ ratios = {}, undici = true } = {}) {
  const sampler = new TenantSampler({ ...JSON.parse(process.env.TENANT_RATIOS), ...ratios });
  new NodeTracerProvider({ sampler: new ParentBasedSampler({ root: sampler }) }).register();
  registerInstrumentations({
    instrumentations: [
      new HttpInstrumentation({
        ignoreIncomingRequestHook: (request) => request.url === '/healthz',
        startIncomingSpanHook: (request) => ({ 'tenant.id': tenantOf(request.headers) }),
      }),
      new ExpressInstrumentation(),
      ...(undici ? [new UndiciInstrumentation()] : []),
    ],
  });
}

module.exports = { hasFault, setUp, tenantOf };
