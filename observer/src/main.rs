//! The runtime sampling observer.

fn main() {}
