//! The Kafka decoder against made-up conversations and real ones.

mod holes;
#[path = "../decode/pieces.rs"]
mod pieces;
mod properties;
mod recordings;
mod rules;
mod script;
mod tap;
mod wire;
