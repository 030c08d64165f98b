//! HTTP/2 and gRPC: real bytes of real programs, and properties over conversations of a real encoder.

mod properties;
mod recordings;
mod rules;
mod script;
mod walk;
