//! Both directions of a connection: see [`fuzz::conversation`].

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::conversation::run(bytes));
