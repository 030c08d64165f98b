//! HPACK (RFC 7541): header blocks of one direction come in, in the order of the wire; the fields that are wanted go out.

mod decoder;
mod fields;
mod huffman;
mod reader;
mod static_table;
mod table;

pub(super) use self::decoder::{Decoder, role};
pub(super) use self::fields::{Fields, First};
