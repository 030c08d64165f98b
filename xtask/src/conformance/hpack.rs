//! HPACK stories: header blocks of one direction in order, with the fields that they stand for. Each is sent over a connection of
//! its own and read back as the observer reads any connection.

use anyhow::{Context, Result, bail};
use observer_core::decode::{Conversation, Fidelity, Piece, Shared};
use observer_core::message::{End, Header, HeaderName, Interest, Message, MessageBody};
use observer_core::time::Timestamp;
use serde_json::Value;

use super::Tally;

/// Names asked for at a time: the observer keeps few headers of a message.
const NAMES_MAX: usize = 6;
/// RFC 9113 sections 3.4, 4.1, 6.2, 6.5, 6.10.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const FRAME_BYTES_MAX: usize = 16_384;
const SETTINGS_HEADER_TABLE_SIZE: u16 = 1;

type Field = (String, String);

/// One block.
struct Block {
    wire: Vec<u8>,
    fields: Vec<Field>,
    table_size: Option<u32>,
}

/// Runs one story; each of its blocks is a case.
pub(super) fn story(content: &Value, tally: &mut Tally) -> Result<()> {
    let blocks = content["cases"].as_array().context("no cases")?.iter().map(block).collect::<Result<Vec<_>>>()?;
    let mut names: Vec<&str> = blocks
        .iter()
        .flat_map(|block| &block.fields)
        .map(|(name, _)| name.as_str())
        .filter(|name| !name.starts_with(':'))
        .collect();
    names.sort_unstable();
    names.dedup();
    let mut passes = vec![true; blocks.len()];
    let chunks: Vec<&[&str]> = if names.is_empty() { vec![&[]] } else { names.chunks(NAMES_MAX).collect() };
    for chunk in chunks {
        let interest = Interest::new(chunk.iter().copied());
        let read = read(&blocks, &interest)?;
        for (at, (block, passes)) in blocks.iter().zip(&mut passes).enumerate() {
            *passes &= read.get(at) == Some(&expected(block, &interest));
        }
    }
    for (at, passes) in passes.into_iter().enumerate() {
        tally.case(passes, || format!("block {at}: {:?}", blocks.get(at).map(|block| &block.fields)));
    }
    Ok(())
}

fn block(case: &Value) -> Result<Block> {
    let wire = case["wire"].as_str().context("no wire")?;
    if wire.len() % 2 != 0 || !wire.is_ascii() {
        bail!("{wire} is not hexadecimal");
    }
    let wire = (0..wire.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&wire[at..at + 2], 16).context("no hexadecimal digits"))
        .collect::<Result<Vec<u8>>>()?;
    let fields = case["headers"].as_array().context("no headers")?.iter().map(|field| {
        let (name, value) = field.as_object().and_then(|field| field.iter().next()).context("an empty header")?;
        Ok((name.clone(), value.as_str().context("a value is no text")?.to_owned()))
    });
    let table_size = case["header_table_size"].as_u64().and_then(|size| u32::try_from(size).ok());
    Ok(Block { wire, fields: fields.collect::<Result<_>>()?, table_size })
}

/// What of a block is to be read.
fn expected(block: &Block, interest: &Interest) -> Vec<Field> {
    let mut fields: Vec<Field> = block
        .fields
        .iter()
        .filter_map(|(name, value)| match name.as_str() {
            // Queries are not kept.
            ":path" => Some((name.clone(), value.split('?').next().unwrap_or_default().to_owned())),
            ":method" | ":status" => Some((name.clone(), value.clone())),
            name if is_told(interest.find(name.as_bytes())?) => Some((name.to_owned(), value.trim().to_owned())),
            _ => None,
        })
        .collect();
    fields.sort();
    fields
}

/// `host` stands for `:authority`, too.
fn is_told(name: HeaderName) -> bool {
    name != HeaderName::HOST
}

/// Sends the blocks over a connection and reads them back.
fn read(blocks: &[Block], interest: &Interest) -> Result<Vec<Vec<Field>>> {
    let responses = blocks.iter().any(|block| block.fields.iter().any(|(name, _)| name == ":status"));
    let names: Vec<(HeaderName, &str)> = blocks
        .iter()
        .flat_map(|block| &block.fields)
        .filter_map(|(name, _)| Some((interest.find(name.as_bytes())?, name.as_str())))
        .collect();
    let mut connection = Connection::new(interest);
    connection.client(PREFACE);
    let sizes = blocks.iter().filter_map(|block| block.table_size).max();
    let settings = sizes.map_or_else(Vec::new, |size| {
        SETTINGS_HEADER_TABLE_SIZE.to_be_bytes().into_iter().chain(size.to_be_bytes()).collect()
    });
    // Who receives the blocks says how large a table it keeps.
    let (of_client, of_server): (&[u8], &[u8]) = if responses { (&settings, &[]) } else { (&[], &settings) };
    connection.client(&frame(SETTINGS, 0, 0, of_client));
    connection.server(&frame(SETTINGS, 0, 0, of_server));
    connection.client(&frame(SETTINGS, 1, 0, &[]));
    connection.server(&frame(SETTINGS, 1, 0, &[]));
    let mut read = Vec::new();
    for (at, block) in blocks.iter().enumerate() {
        let stream = u32::try_from(at)? * 2 + 1;
        let found = if responses {
            // `:method GET`, `:scheme http`, `:path /` of the static table.
            connection.client(&frame(HEADERS, END_STREAM | END_HEADERS, stream, &[0x82, 0x86, 0x84]));
            connection.server(&head(stream, &block.wire))
        } else {
            connection.client(&head(stream, &block.wire))
        };
        let mut fields: Vec<Field> = found.into_iter().map(|field| named(field, &names)).collect();
        fields.sort();
        read.push(fields);
    }
    Ok(read)
}

enum Found {
    Pseudo(&'static str, String),
    Header(HeaderName, String),
}

fn named(found: Found, names: &[(HeaderName, &str)]) -> Field {
    match found {
        Found::Pseudo(name, value) => (name.to_owned(), value),
        Found::Header(name, value) => {
            let known = names.iter().find(|(known, _)| *known == name).map_or("", |(_, known)| known);
            (known.to_owned(), value)
        }
    }
}

/// A header block in as many frames as it needs.
fn head(stream: u32, block: &[u8]) -> Vec<u8> {
    let count = block.chunks(FRAME_BYTES_MAX).count();
    let mut frames = Vec::new();
    for (at, part) in block.chunks(FRAME_BYTES_MAX).enumerate() {
        let end = if at + 1 == count { END_HEADERS } else { 0 };
        let (kind, flags) = if at == 0 { (HEADERS, END_STREAM | end) } else { (CONTINUATION, end) };
        frames.extend(frame(kind, flags, stream, part));
    }
    frames
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&len[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A connection that is read as its bytes are sent.
struct Connection<'i> {
    conversation: Conversation,
    interest: &'i Interest,
    sent: [u32; 2],
}

impl<'i> Connection<'i> {
    fn new(interest: &'i Interest) -> Self {
        Self { conversation: Conversation::new(Fidelity::Whole), interest, sent: [1, 1] }
    }

    fn client(&mut self, bytes: &[u8]) -> Vec<Found> {
        self.send(End::First, bytes)
    }

    fn server(&mut self, bytes: &[u8]) -> Vec<Found> {
        self.send(End::Second, bytes)
    }

    fn send(&mut self, from: End, bytes: &[u8]) -> Vec<Found> {
        let place = usize::from(from == End::Second);
        let seq = self.sent[place];
        let wire_len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let piece = Piece { at: Timestamp(1), from, seq, ack: Some(self.sent[1 - place]), wire_len, bytes, link: None };
        self.sent[place] = seq.wrapping_add(wire_len);
        let mut found = Vec::new();
        self.conversation
            .piece(&piece, self.interest, &mut Shared::default(), &mut |message| fields(&message, &mut found));
        found
    }
}

fn fields(message: &Message<'_>, found: &mut Vec<Found>) {
    let headers = match &message.body {
        MessageBody::Request(head) => {
            found.push(Found::Pseudo(":method", head.method.to_owned()));
            found.push(Found::Pseudo(":path", head.path.to_owned()));
            head.headers
        }
        MessageBody::Response(head) => {
            found.push(Found::Pseudo(":status", head.status.map_or_else(String::new, |status| status.to_string())));
            head.headers
        }
        _ => &[],
    };
    let value = |header: &Header<'_>| String::from_utf8_lossy(header.value).into_owned();
    let headers = headers.iter().filter(|header| is_told(header.name));
    found.extend(headers.map(|header| Found::Header(header.name, value(header))));
}
