//! The pure stages of the runtime sampling observer: bytes come in, a report goes out.
//!
//! Nothing here reads a clock, a file, a socket or `/proc`: time and bytes are arguments, so a recording replays to the
//! same report. No stage calls another; `observer/src/pipeline.rs` calls each in its turn.
#![forbid(unsafe_code)]
// No panics on input. Tests may say what they mean.
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::arithmetic_side_effects
    )
)]

mod arena;
pub mod audit;
pub mod connection;
pub mod context;
pub mod declared;
pub mod decode;
pub mod fact;
pub mod ids;
pub mod limits;
pub mod message;
pub mod names;
pub mod propagation;
mod recent;
pub mod sampling;
pub mod time;
pub mod yaml;

pub use recent::Prefetch;
