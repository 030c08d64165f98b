//! What travels beside a trace context: the `tracestate` and `baggage` of every request that brought a trace, and of a hop that carries
//! it, come in; whether the hop hands them on goes out. Nothing of them is kept but a set of keys and how much must go on.
//!
//! `tracestate` is dropped where nothing is left of it. Members may be added, moved and changed, one's own removed, and long ones or the
//! last of a long list left out (W3C Trace Context Level 2, section 3.3.1.5 and 3.5), so that one member which arrived is enough. That
//! of OpenTelemetry belongs to whoever runs an SDK: whether it goes on is asked only where no other member arrived, and only of hops
//! that are sampled, for its samplers remove it from others. What goes on in other formats than `traceparent` has no place for it.
//!
//! `baggage` is dropped where all of it is gone, or the member that names the tenant is and the hop is not of the same tenant all the
//! same: otherwise services may add, change and remove members (W3C Baggage, section 3).

use crate::context::tracestate::Keys;
use crate::context::{Format, Formats, MessageContext, Sampled, TraceContext};
use crate::fact::Fact;
use crate::ids::TenantId;
use crate::names::Names;

/// What a hop does with something that every request had which brought its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handed {
    /// Hands it on.
    On,
    /// Drops it.
    Dropped,
    /// Drops baggage, and is of another tenant, or of none, because of that.
    DroppedWithTenant,
    /// Hands baggage on without the member that names the tenant, and is of another tenant, or of none, because of that.
    TenantDropped,
}

impl Handed {
    /// The word for it, for example `dropped_with_tenant`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Dropped => "dropped",
            Self::DroppedWithTenant => "dropped_with_tenant",
            Self::TenantDropped => "tenant_dropped",
        }
    }
}

/// What every request had that brought a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    /// The keys of all their `tracestate`.
    keys: Keys,
    tracestate: Members,
    baggage: Luggage,
}

/// What the `tracestate` of every request had, of members that must not be left out; the least of them counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Members {
    None,
    /// OpenTelemetry's.
    OpenTelemetry,
    /// Another.
    Foreign,
}

/// The baggage of every request, where it must not be left out; the least of them counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Luggage {
    None,
    /// Some.
    Some,
    /// Some that names the tenant.
    WithTenant,
}

impl Held {
    /// What a request has that brings `trace`.
    pub(super) fn of(context: &MessageContext, trace: &TraceContext, tenant: TenantId) -> Self {
        let (keys, short) = match context.tracestate {
            // Without a traceparent it means nothing (W3C Trace Context Level 2, section 3.3).
            Fact::Present(Ok(list)) if is_w3c(trace) => (list.keys, list.short),
            _ => (Keys::NONE, Keys::NONE),
        };
        let tracestate = match short {
            Keys::NONE => Members::None,
            short if short.without_opentelemetry() == Keys::NONE => Members::OpenTelemetry,
            _ => Members::Foreign,
        };
        let baggage = match context.baggage {
            Fact::Present(baggage) if !baggage.whole => Luggage::None,
            Fact::Present(baggage) if baggage.names_tenant && tenant != Names::UNKNOWN_TENANT => Luggage::WithTenant,
            Fact::Present(_) => Luggage::Some,
            Fact::Absent | Fact::NotObserved => Luggage::None,
        };
        Self { keys, tracestate, baggage }
    }

    /// The same trace comes once more; `same_tenant`: with the tenant that it had before.
    pub(super) fn and(self, other: Self, same_tenant: bool) -> Self {
        let most = if same_tenant { Luggage::WithTenant } else { Luggage::Some };
        Self {
            keys: self.keys.and(other.keys),
            tracestate: self.tracestate.min(other.tracestate),
            baggage: self.baggage.min(other.baggage).min(most),
        }
    }

    /// Whether there is anything to hand on.
    pub(super) fn is_any(self) -> bool {
        self.tracestate != Members::None || self.baggage != Luggage::None
    }

    /// What becomes of the `tracestate` on a hop that carries the trace as `sent`; `None` where it need not go on, or what the hop has was
    /// not observed or cannot be read.
    pub(super) fn tracestate(self, context: &MessageContext, sent: &TraceContext) -> Option<Handed> {
        let keys = match self.tracestate {
            Members::Foreign => self.keys.without_opentelemetry(),
            Members::OpenTelemetry if sent.sampled == Sampled::Sampled => self.keys,
            Members::OpenTelemetry | Members::None => return None,
        };
        match context.tracestate {
            _ if !is_w3c(sent) => None,
            Fact::Present(Ok(list)) if list.keys.may_meet(keys) => Some(Handed::On),
            Fact::Present(Ok(_)) | Fact::Absent => Some(Handed::Dropped),
            Fact::Present(Err(_)) | Fact::NotObserved => None,
        }
    }

    /// What becomes of the baggage on a hop of `tenant`, where the trace arrived with `before`; `None` as for the `tracestate`.
    pub(super) fn baggage(self, context: &MessageContext, tenant: TenantId, before: TenantId) -> Option<Handed> {
        let loses_tenant = self.baggage == Luggage::WithTenant && tenant != before;
        match context.baggage {
            _ if self.baggage == Luggage::None => None,
            Fact::NotObserved => None,
            Fact::Absent if loses_tenant => Some(Handed::DroppedWithTenant),
            Fact::Absent => Some(Handed::Dropped),
            Fact::Present(baggage) if baggage.names_tenant => Some(Handed::On),
            Fact::Present(baggage) if !baggage.whole => None,
            Fact::Present(_) if loses_tenant => Some(Handed::TenantDropped),
            Fact::Present(_) => Some(Handed::On),
        }
    }
}

fn is_w3c(context: &TraceContext) -> bool {
    context.formats.meets(Formats::of(Format::W3c))
}
