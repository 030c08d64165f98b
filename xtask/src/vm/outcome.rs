//! How a kernel did: the lines that the guest printed and its exit status come in, a row of the closing table goes out.

use anyhow::Result;

/// Counts of test results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Tests that passed.
    pub(crate) passed: u64,
    /// Tests that failed.
    pub(crate) failed: u64,
    /// Tests that were not run.
    pub(crate) ignored: u64,
}

impl Tally {
    /// Adds what the test harness says at its end: `test result: ok. 12 passed; 0 failed; 0 ignored; …`.
    pub(crate) fn read(&mut self, line: &str) {
        let Some(counts) = line.strip_prefix("test result: ") else { return };
        let words: Vec<&str> = counts.split([' ', ';', '.']).filter(|word| !word.is_empty()).collect();
        for pair in words.windows(2) {
            let [number, kind] = pair else { continue };
            let Ok(number) = number.parse::<u64>() else { continue };
            match *kind {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

/// The result on one kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All is well.
    Passed(Tally),
    /// A test failed, the machine did, or nothing was tested; the text says which.
    Failed(Tally, String),
    /// No suite offers the kernel; the text says why. Never a pass.
    NotAvailable(String),
}

impl Outcome {
    /// `ended`: with which exit status. `tests`: whether the command was the test binaries, of which at least one test must have run.
    pub(crate) fn of(ended: Result<i32>, tally: Tally, tests: bool) -> Self {
        match ended {
            Err(error) => Self::Failed(tally, format!("{error:#}").lines().next().unwrap_or_default().to_owned()),
            Ok(status) if status != 0 => Self::Failed(tally, format!("exit status {status}")),
            Ok(_) if !tests => Self::Passed(Tally { passed: 1, ..Tally::default() }),
            Ok(_) if tally.failed > 0 => Self::Failed(tally, "tests failed".to_owned()),
            Ok(_) if tally.passed == 0 => Self::Failed(tally, "no test ran".to_owned()),
            Ok(_) => Self::Passed(tally),
        }
    }

    /// What the closing line adds up. A machine that failed without a failed test counts as one failure.
    pub(crate) fn counts(&self) -> Tally {
        match self {
            Self::Passed(tally) => *tally,
            Self::Failed(tally, _) => Tally { failed: tally.failed.max(1), ..*tally },
            Self::NotAvailable(_) => Tally::default(),
        }
    }

    /// The last column of the table.
    pub(crate) fn describe(&self, tests: bool) -> String {
        match self {
            Self::Passed(_) if !tests => "passed".to_owned(),
            Self::Passed(Tally { passed, ignored: 0, .. }) => format!("passed {passed} tests"),
            Self::Passed(Tally { passed, ignored, .. }) => format!("passed {passed} tests, {ignored} not run"),
            Self::Failed(Tally { passed, failed, .. }, why) if tests && passed + failed > 0 => {
                format!("FAILED {failed} of {} tests: {why}", passed + failed)
            }
            Self::Failed(_, why) => format!("FAILED: {why}"),
            Self::NotAvailable(why) => format!("not available: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(line: &str) -> Tally {
        let mut tally = Tally::default();
        tally.read(line);
        tally
    }

    #[test]
    fn the_harness_line_is_counted_and_others_are_not() {
        let line = "test result: FAILED. 11 passed; 2 failed; 1 ignored; 0 measured; 3 filtered out; finished in 1.25s";
        assert_eq!(tally(line), Tally { passed: 11, failed: 2, ignored: 1 });
        assert_eq!(tally("test a_test_about_9_failed_things ... ok"), Tally::default());
    }

    #[test]
    fn a_run_without_any_test_is_no_pass() {
        let line = "test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 9 filtered out; finished in 0.00s";
        assert_eq!(Outcome::of(Ok(0), tally(line), true), Outcome::Failed(Tally::default(), "no test ran".to_owned()));
    }

    #[test]
    fn a_machine_that_dies_counts_as_a_failure() {
        let dead = Outcome::of(Err(anyhow::anyhow!("not done")), Tally { passed: 3, ..Tally::default() }, true);
        assert_eq!(dead.counts(), Tally { passed: 3, failed: 1, ignored: 0 });
    }

    #[test]
    fn a_kernel_that_is_not_offered_counts_as_nothing() {
        assert_eq!(Outcome::NotAvailable("gone".to_owned()).counts(), Tally::default());
    }
}
