//! What the fuzz targets do with the bytes that a fuzzer makes up, and bytes of real programs for it to begin with.

pub mod context;
pub mod conversation;

/// Inputs by name.
pub type Seeds = Vec<(String, Vec<u8>)>;
#[expect(clippy::expect_used, reason = "recordings are part of the sources")]
#[path = "../../observer-core/tests/decode/recording.rs"]
mod recording;

#[cfg(test)]
mod tests {
    #[test]
    fn what_the_fuzzer_begins_with_passes() {
        for (name, bytes) in super::conversation::seeds() {
            assert!(!bytes.is_empty(), "{name}");
            super::conversation::run(&bytes);
        }
        for (_, bytes) in super::context::seeds() {
            super::context::run(&bytes);
        }
    }
}
