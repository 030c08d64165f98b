//! The decoder of Redis: real clients, rules, and properties of made-up conversations.

mod holes;
mod properties;
mod recordings;
mod rules;
mod script;
