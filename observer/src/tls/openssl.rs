//! Where OpenSSL keeps the file descriptor of a session: not in its interface, so by version.

/// The program for the beginning of a call in a version such as `3.0.19`: the one that knows how sessions are laid out there, else
/// the one that looks for no descriptor. Followed in sessions of Debian's 1.1.1w, 3.0.19, 3.5.7 and 3.6.5 and of a wheel's 1.1.1r
/// (2026-11-22); 3.1 has the structures of 3.0, and 3.2 to 3.4 two of which one is that of 3.5: the program tells them apart.
pub(super) fn begins(version: &str) -> &'static str {
    let mut numbers = version
        .split(['.', '-', '+'])
        .map_while(|number| number.trim_end_matches(|letter: char| letter.is_ascii_lowercase()).parse::<u32>().ok());
    match (numbers.next(), numbers.next(), numbers.next()) {
        (Some(1), Some(1), Some(1)) => "tls_begins_1_1",
        (Some(3), Some(0 | 1), _) => "tls_begins_3_0",
        (Some(3), Some(2..=6), _) => "tls_begins_3_2",
        _ => "tls_begins",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_a_descriptor_goes_by_the_release() {
        for (versions, program) in [
            (&["1.1.1w", "1.1.1"][..], "tls_begins_1_1"),
            (&["3.0.3", "3.0.19", "3.1.0", "3.0"], "tls_begins_3_0"),
            (&["3.2.0", "3.3.1", "3.4.4", "3.5.0", "3.6.5-dev"], "tls_begins_3_2"),
            (&["1.1.0", "1.0.2", "3.7.0", "4.0.0", "", "x"], "tls_begins"),
        ] {
            for version in versions {
                assert_eq!(begins(version), program, "{version}");
            }
        }
    }
}
