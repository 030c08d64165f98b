//! The decoders of AMQP 0-9-1 and NATS against made-up conversations and real ones.

mod amqp_rules;
mod amqp_wire;
mod holes;
mod nats_rules;
mod nats_wire;
#[path = "../decode/pieces.rs"]
mod pieces;
mod properties;
#[path = "../decode/recording.rs"]
mod recording;
mod recordings;
mod script;
mod tap;
