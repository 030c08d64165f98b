//! The decoder of conversations, from the outside: real bytes give the messages that a person reads in them, and properties
//! hold for streams that are cut, repeated, reordered, thinned and holed.

mod brokers;
mod golden;
mod holes;
mod http2;
mod kernel;
mod pieces;
mod properties;
mod recording;
mod redis;
mod rules;
mod script;
mod tap;
