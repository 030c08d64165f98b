//! The processes that use TLS libraries come in, a line for each that tells what is observed of it goes out.

use std::time::Duration;

use super::{Check, State};
use crate::output::safe;
use crate::tls::TlsProcess;

/// How long may be looked for them.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// Processes that are listed, those that are not observed before the others.
const LISTED_MAX: usize = 100;

/// The lines; `whole`: all processes were looked at.
pub(super) fn checks(mut processes: Vec<TlsProcess>, whole: bool) -> Vec<Check> {
    processes.sort_by(|one, other| {
        let key = |process: &TlsProcess| (process.unfit.is_empty(), process.command.clone(), process.pid);
        key(one).cmp(&key(other))
    });
    let more = processes.len().saturating_sub(LISTED_MAX);
    let mut checks: Vec<Check> = processes.iter().take(LISTED_MAX).map(check).collect();
    let note = |detail: String| Check { name: "more".into(), state: State::Note, detail, remedy: None };
    if more > 0 {
        checks.push(note(format!("{more} more processes use TLS libraries")));
    }
    if !whole {
        checks.push(note(format!("not all processes were looked at within {} s", PATIENCE.as_secs())));
    }
    checks
}

fn check(process: &TlsProcess) -> Check {
    let observed = process.observed.iter().map(|(library, version)| match version {
        Some(version) => format!("{library} {}", safe(version)),
        None => library.to_string(),
    });
    let unfit = process.unfit.iter().map(|(library, why)| format!("not {library}: {}", safe(why)));
    Check {
        name: format!("{} {}", safe(&process.command), process.pid).into(),
        state: if process.unfit.is_empty() { State::Ok } else { State::Note },
        detail: observed.chain(unfit).collect::<Vec<_>>().join("\n"),
        remedy: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::Library;

    #[test]
    fn what_is_not_observed_comes_first_and_the_list_has_an_end() {
        let process = |pid, command: &str| TlsProcess { pid, command: command.to_owned(), ..TlsProcess::default() };
        let version = Some("3.0.19".to_owned());
        let curl = |pid| TlsProcess { observed: vec![(Library::OpenSsl, version.clone())], ..process(pid, "curl") };
        let java = TlsProcess { unfit: vec![(Library::Java, "why".to_owned())], ..process(7, "java\u{1b}[2J") };
        let lines = |checks: Vec<Check>| -> Vec<String> {
            checks.into_iter().map(|check| format!("{} {:?} {}", check.name, check.state, check.detail)).collect()
        };
        let listed = lines(checks(vec![curl(3), java, curl(2)], true));
        assert!(!listed.concat().contains('\u{1b}'));
        assert!(listed[0].ends_with("7 Note not Java: why"), "{listed:?}");
        assert_eq!(listed[1..], ["curl 2 Ok OpenSSL 3.0.19", "curl 3 Ok OpenSSL 3.0.19"]);

        let many = lines(checks((0..102).map(curl).collect(), false));
        assert_eq!(many.len(), LISTED_MAX + 2);
        assert_eq!(many[LISTED_MAX], "more Note 2 more processes use TLS libraries");
        assert_eq!(many[LISTED_MAX + 1], "more Note not all processes were looked at within 20 s");
    }
}
