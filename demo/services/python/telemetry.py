"""Sets up the OpenTelemetry SDK of a service: a sampler that decides roots by tenant, the SDK's own propagators.

No exporter: the observer looks at what the services say to each other, and spans need not leave the process for that.
"""

import contextvars
import json
import os

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ParentBased, Sampler, TraceIdRatioBased

# The tenant of the request that this thread or task works for; set by whoever takes the request in.
tenant = contextvars.ContextVar("tenant", default="unknown")


class TenantSampler(Sampler):
    """Samples a share of the traces of each tenant, by trace id."""

    def __init__(self, ratios):
        self._samplers = {name: TraceIdRatioBased(ratio) for name, ratio in ratios.items()}

    def should_sample(self, *args, **kwargs):
        sampler = self._samplers.get(tenant.get(), self._samplers["default"])
        return sampler.should_sample(*args, **kwargs)

    def get_description(self):
        return "TenantSampler"


def set_up():
    """Makes the tenant sampler the root sampler of this process, with the ratios of TENANT_RATIOS."""
    ratios = json.loads(os.environ["TENANT_RATIOS"])
    trace.set_tracer_provider(TracerProvider(sampler=ParentBased(root=TenantSampler(ratios))))


def has_fault(name):
    """Whether the fault of this name is planted in this run."""
    return name in os.environ.get("FAULTS", "").split(",")
