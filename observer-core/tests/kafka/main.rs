//! The Kafka decoder against made-up conversations and real ones.

mod holes;
mod properties;
mod recordings;
mod rules;
mod script;
mod tap;
mod wire;
