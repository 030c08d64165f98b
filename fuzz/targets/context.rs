//! The headers of a request: see [`fuzz::context`].

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::context::run(bytes));
