//! The bytes of one direction, in order: headers and what follows them go on to reading, and what is missing is passed over or lost.
//! The rules stand at the top of [`super`].

use super::frame::{REQUEST_HEADER_BYTES, RESPONSE_HEADER_BYTES, Request, Response};
use super::half::{Expected, Half, Trust};
use super::search::search;
use super::talk::Talk;
use super::{Output, Role};
use crate::decode::RecordBounds;
use crate::decode::stream::{Parser, Run, Stream};
use crate::time::Timestamp;

/// What a direction needs besides its bytes.
pub(super) struct Context<'c, 'o> {
    pub(super) bounds: RecordBounds,
    pub(super) talk: &'c mut Talk,
    /// The other direction, for that of the responses.
    pub(super) requests: Option<&'c mut Stream<Half>>,
    pub(super) out: &'c mut Output<'o>,
}

impl Parser<Context<'_, '_>> for Half {
    fn bytes(&mut self, run: &Run<'_>, context: &mut Context<'_, '_>) {
        self.next = run.seq;
        if self.role == Role::Responses && matches!(self.expected, Expected::Adrift { .. }) {
            self.expected = Expected::Header(Trust::Doubtful);
        }
        let mut rest = run.bytes;
        while !rest.is_empty() && !context.talk.refuted {
            match self.expected {
                Expected::Header(trust) => self.header(&mut rest, run.at, trust, context),
                Expected::Body { left } => {
                    let taken = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                    self.advance(taken as u64);
                    self.body(rest.get(..taken).unwrap_or_default(), left, context);
                    rest = rest.get(taken..).unwrap_or_default();
                }
                Expected::Adrift { request_at } => {
                    let is_whole = run.ends && rest.len() == run.bytes.len();
                    let passed = self.seek(rest, is_whole, request_at, context.talk);
                    rest = rest.get(passed..).unwrap_or_default();
                }
            }
        }
    }

    fn gap(&mut self, count: u64, context: &mut Context<'_, '_>) {
        let mut count = count;
        while count > 0 && !context.talk.refuted {
            match self.expected {
                Expected::Body { left } => {
                    let passed = count.min(left);
                    count = count.saturating_sub(passed);
                    self.advance(passed);
                    self.miss(passed, left, context);
                }
                Expected::Header(trust) => {
                    self.advance(count);
                    return self.lose_track(trust, context);
                }
                Expected::Adrift { request_at } => {
                    // What looked like a request may end in what is missing.
                    let reached = request_at.is_some_and(|(at, ..)| u64::from(at.wrapping_sub(self.next)) < count);
                    self.expected = Expected::Adrift { request_at: request_at.filter(|_| !reached) };
                    return self.advance(count);
                }
            }
        }
    }

    fn end(&mut self, context: &mut Context<'_, '_>) {
        if let Expected::Body { left } = self.expected {
            self.miss(left, left, context);
        }
        self.drift();
    }

    fn spare(&self) -> u64 {
        match (self.expected, &self.reading) {
            (Expected::Body { left }, None) => left,
            (Expected::Body { left }, Some(reading)) => left.min(reading.spare()),
            _ => 0,
        }
    }

    fn is_adrift(&self) -> bool {
        matches!(self.expected, Expected::Adrift { .. })
    }

    fn overflow(context: &mut Context<'_, '_>) {
        let overflow = &mut context.out.anomalies.reorder_overflow;
        *overflow = overflow.saturating_add(1);
    }
}

impl Half {
    /// Takes bytes of the header of a message.
    fn header(&mut self, rest: &mut &[u8], at: Timestamp, trust: Trust, context: &mut Context<'_, '_>) {
        if self.header.bytes().is_empty() {
            self.at = at;
        }
        let wanted = match self.role {
            Role::Requests => REQUEST_HEADER_BYTES,
            Role::Responses => RESPONSE_HEADER_BYTES,
        };
        let len = rest.len();
        let header = self.header.take(rest, wanted).map(|header| (Request::at(header), Response::at(header)));
        self.advance(len.saturating_sub(rest.len()) as u64);
        match (self.role, header) {
            (Role::Requests, Some((Some(request), _))) => self.request(request, trust, context),
            (Role::Responses, Some((_, Some(response)))) => self.response(response, trust, context),
            _ => {}
        }
    }

    /// Looks for a message among bytes of which it is not known where one begins; returns how many bytes it passed over.
    fn seek(&mut self, bytes: &[u8], is_whole: bool, request_at: Option<(u32, i16, i32)>, talk: &Talk) -> usize {
        let passed = match (self.role, request_at) {
            (Role::Requests, Some((at, client_len, correlation))) => {
                let distance = usize::try_from(at.wrapping_sub(self.next)).unwrap_or(usize::MAX);
                if distance < bytes.len() {
                    self.expected = Expected::Header(Trust::Follows { client_len, correlation });
                }
                distance.min(bytes.len())
            }
            (Role::Requests, None) => {
                let found = search(bytes, is_whole, self.next, talk.known());
                self.expected = found.expected;
                found.passed
            }
            // A response is looked for at the beginning of a piece alone.
            (Role::Responses, _) => bytes.len(),
        };
        self.advance(passed as u64);
        passed
    }
}
