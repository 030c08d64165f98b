//! A pattern and a text come in; whether the text is what the pattern spells goes out.

/// A text in which `*` stands for any run of characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    pieces: Vec<String>,
}

impl Pattern {
    /// The pattern that `text` spells.
    pub fn new(text: &str) -> Self {
        Self { pieces: text.split('*').map(str::to_owned).collect() }
    }

    /// Whether all of `text` is what the pattern spells.
    pub fn matches(&self, text: &str) -> bool {
        let Some((first, rest)) = self.pieces.split_first() else { return text.is_empty() };
        let Some((last, middle)) = rest.split_last() else { return text == first };
        let Some(mut left) = text.strip_prefix(first.as_str()) else { return false };
        for piece in middle {
            let Some(at) = left.find(piece.as_str()) else { return false };
            left = left.get(at + piece.len()..).unwrap_or_default();
        }
        left.ends_with(last.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_run_of_characters() {
        let cases = [
            ("/healthz", "/healthz", true),
            ("/healthz", "/healthz/live", false),
            ("/internal/*", "/internal/", true),
            ("/internal/*", "/internal/a/b", true),
            ("/internal/*", "/intern", false),
            ("*.partner.example", "api.partner.example", true),
            ("*.partner.example", "partner.example", false),
            ("/a*b*c", "/a-b-b-c", true),
            ("/a*b*c", "/a-c", false),
            ("a*a", "a", false),
            ("a*c*e", "ace", true),
            ("a*bc*c", "abc", false),
            ("*", "", true),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(Pattern::new(pattern).matches(text), expected, "{pattern} on {text}");
        }
    }
}
