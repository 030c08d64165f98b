//! The runtime sampling observer.
mod capture;

fn main() {}
