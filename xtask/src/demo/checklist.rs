//! The list at the end of the demo: the report and the truth come in; each planted fault with what was found of it goes out.

use observer_core::audit::report::{Code, Finding, Report, Severity};
use testbed::shop::names;
use testbed::truth::{Facts, reported};

/// A fault that was planted, and the finding that must name it.
struct Planted {
    what: &'static str,
    code: Code,
    service: Option<&'static str>,
    tenant: Option<&'static str>,
    peer: Option<&'static str>,
}

const PLANTED: [Planted; 6] = [
    Planted {
        what: "gateway samples globex at half its declared ratio",
        code: Code::RatioUnder,
        service: Some("gateway"),
        tenant: Some("globex"),
        peer: None,
    },
    Planted {
        what: "initech has no sampling override",
        code: Code::TenantOverrideMissing,
        service: None,
        tenant: Some("initech"),
        peer: None,
    },
    Planted {
        what: "pricing starts new traces towards discounts",
        code: Code::TraceRestarted,
        service: Some("pricing"),
        tenant: None,
        peer: Some("discounts"),
    },
    Planted {
        what: "inventory sends no context to warehouse",
        code: Code::ContextLost,
        service: Some("inventory"),
        tenant: None,
        peer: Some("warehouse"),
    },
    Planted {
        what: "payment drops the weight towards the ledger",
        code: Code::WeightMissing,
        service: Some("payment"),
        tenant: None,
        peer: None,
    },
    Planted {
        what: "payment fails and nobody sampled it",
        code: Code::ErrorUnsampled,
        service: Some("payment"),
        tenant: None,
        peer: None,
    },
];

impl Planted {
    fn is_named_by(&self, finding: &Finding) -> bool {
        let named = |wanted: Option<&str>, found: &Option<String>| wanted.is_none() || wanted == found.as_deref();
        finding.code == self.code
            && named(self.service, &finding.service)
            && named(self.tenant, &finding.tenant)
            && named(self.peer, &finding.peer)
    }
}

/// Prints the list; whether all is as planted.
pub(crate) fn print(report: &Report, truth: &Facts) -> bool {
    let mut complete = true;
    println!("Planted, and found:");
    for planted in &PLANTED {
        let found = report.findings.iter().find(|finding| planted.is_named_by(finding));
        complete &= found.is_some();
        let (mark, finding) = found.map_or(("MISSING", String::new()), |finding| ("found  ", title(finding)));
        println!("  {mark}  {:<50} {finding}", planted.what);
    }
    let others = report.findings.iter().filter(|finding| !PLANTED.iter().any(|planted| planted.is_named_by(finding)));
    for finding in others {
        let unexpected = finding.severity == Severity::Critical;
        complete &= !unexpected;
        let mark = if unexpected { "NOT PLANTED" } else { "also" };
        println!("  {mark}: {}: {}", title(finding), finding.message);
    }
    let services: Vec<&str> = names().collect();
    let seen = requests(&reported(report, &services));
    let logged = requests(truth);
    complete &= seen == logged && report.capture.lost == 0;
    println!("  requests by the services' own logs: {logged}; observed: {seen}; lost: {}", report.capture.lost);
    println!("{}", if complete { "All as planted." } else { "NOT as planted." });
    complete
}

fn requests(facts: &Facts) -> u64 {
    facts.requests.values().map(|row| row.all()).sum()
}

/// Code, severity and place of a finding.
fn title(finding: &Finding) -> String {
    let code = serde_json::to_value(finding.code).ok();
    let code = code.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default();
    let mut place: Vec<&str> = finding.service.as_deref().into_iter().collect();
    place.extend(finding.tenant.as_deref());
    place.extend(finding.peer.as_deref());
    format!("{code} ({}) {}", finding.severity.as_str(), place.join(" > "))
}
