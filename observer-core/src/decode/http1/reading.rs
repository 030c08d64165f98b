//! What bytes are: those that follow one another come in, heads go on to telling, bodies are passed over.

use super::Http1;
use super::chunks::Step;
use super::draft::{Draft, Progress};
use super::half::{Expected, Standing};
use super::head::{self, Reading, Wanted};
use super::start_line::{Looks, Role};
use super::telling::Found;
use super::turns::Place;
use crate::decode::Output;
use crate::time::Timestamp;

impl Http1 {
    /// Takes bytes that begin where the direction stands, and the `wire_len` minus those that were not captured.
    pub(super) fn consume(
        &mut self,
        role: Role,
        at: Timestamp,
        bytes: &[u8],
        wire_len: u32,
        ack: Option<u32>,
        out: &mut Output<'_>,
    ) {
        let mut rest = bytes;
        let told_before = self.exchanges.asked();
        while !rest.is_empty() && !self.quiet {
            let half = self.half_mut(role);
            let taken = match half.expected {
                Expected::Head => self.head(role, at, rest, ack, out),
                Expected::Sized { left } => {
                    let take = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                    half.expect_sized(left.saturating_sub(take as u64));
                    take
                }
                Expected::Chunked(mut chunks) => match chunks.feed(rest) {
                    Step::More => {
                        half.expected = Expected::Chunked(chunks);
                        rest.len()
                    }
                    Step::End(taken) => {
                        half.expect_head(Standing::Certain);
                        taken
                    }
                    Step::Bad => {
                        half.drift();
                        out.shared.anomalies.not_http = out.shared.anomalies.not_http.saturating_add(1);
                        rest.len()
                    }
                },
                Expected::Anything | Expected::UntilClose | Expected::Chunks | Expected::Garbage | Expected::Adrift => {
                    rest.len()
                }
            };
            self.half_mut(role).advance(taken as u64);
            rest = rest.get(taken..).unwrap_or_default();
        }
        if role == Role::Requests && self.exchanges.asked() > told_before.saturating_add(1) {
            self.exchanges.pipelines();
        }
        let uncaptured = u64::from(wire_len).saturating_sub(bytes.len() as u64);
        if uncaptured > 0 && !self.quiet {
            self.pass_over(role, at, uncaptured, out);
        }
    }

    /// Passes over bytes that were on the wire and not captured.
    fn pass_over(&mut self, role: Role, at: Timestamp, count: u64, out: &mut Output<'_>) {
        let half = self.half_mut(role);
        half.advance(count);
        match half.expected {
            Expected::Head => match half.draft.take() {
                Some(draft) => self.cut(role, &draft, out),
                None => self.missed_within(role, at, out),
            },
            Expected::Sized { left } => match left.checked_sub(count) {
                Some(left) => half.expect_sized(left),
                None => self.missed_within(role, at, out),
            },
            Expected::Chunked(mut chunks) => {
                if chunks.skip(count) {
                    half.expected = Expected::Chunked(chunks);
                } else {
                    half.drift_in_chunks(role);
                }
            }
            Expected::Anything | Expected::UntilClose | Expected::Chunks | Expected::Garbage | Expected::Adrift => {}
        }
    }

    /// A head is behind another message in one piece, where it was not captured.
    fn missed_within(&mut self, role: Role, at: Timestamp, out: &mut Output<'_>) {
        if role == Role::Requests && self.exchanges.unanswered() > 0 {
            self.exchanges.pipelines();
        }
        self.missed(role, at, out);
    }

    /// Takes the next bytes of a head; returns how many of them belong to it.
    fn head(&mut self, role: Role, at: Timestamp, bytes: &[u8], ack: Option<u32>, out: &mut Output<'_>) -> usize {
        let next = self.half(role).next;
        let mut draft = if let Some(draft) = self.half_mut(role).draft.take() {
            draft
        } else {
            // Empty lines before a head are passed over (RFC 9112 section 2.2).
            if let Some(b'\r' | b'\n') = bytes.first() {
                return bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            }
            let mut wanted = Wanted::new();
            match head::read(role, bytes, out.interest, &mut wanted) {
                Reading::Whole { start, framing, len } => {
                    let (place, end) = (Place { seq: next, ack }, end_of(next, len));
                    let found = Found { at, place, end, start, headers: wanted.as_slice(), framing: Some(framing) };
                    self.tell(&found, out);
                    return len;
                }
                Reading::NotHttp => {
                    self.no_head(role, out);
                    return bytes.len();
                }
                Reading::Draft => Box::new(Draft::new(
                    role,
                    at,
                    Place { seq: next, ack },
                    self.half(role).standing == Standing::Certain,
                )),
            }
        };
        match draft.push(bytes, out.interest) {
            Progress::More => {
                self.half_mut(role).draft = Some(draft);
                bytes.len()
            }
            Progress::Whole(len) => {
                if let Some(start) = draft.start() {
                    let headers = draft.headers(true);
                    let (place, end, framing) = (draft.place, end_of(next, len), Some(draft.framing()));
                    self.tell(&Found { at: draft.at, place, end, start, headers: &headers, framing }, out);
                }
                len
            }
            Progress::TooLong => {
                out.shared.anomalies.heads_too_long = out.shared.anomalies.heads_too_long.saturating_add(1);
                self.tell_part(role, &draft, out);
                bytes.len()
            }
            Progress::NotHttp => {
                self.no_head(role, out);
                bytes.len()
            }
        }
    }

    /// What was taken for the beginning of a head is none.
    fn no_head(&mut self, role: Role, out: &mut Output<'_>) {
        let half = self.half_mut(role);
        if half.standing == Standing::First {
            half.expected = Expected::Anything;
            return;
        }
        if half.standing == Standing::Certain {
            half.expected = Expected::Garbage;
            out.shared.anomalies.not_http = out.shared.anomalies.not_http.saturating_add(1);
        } else {
            half.drift();
        }
    }

    /// The rest of a head is missing.
    pub(super) fn cut(&mut self, role: Role, draft: &Draft, out: &mut Output<'_>) {
        self.exchanges.lost();
        if draft.start().is_some() {
            out.shared.anomalies.heads_cut = out.shared.anomalies.heads_cut.saturating_add(1);
            self.tell_part(role, draft, out);
        } else if self.half(role).standing == Standing::Certain || draft.looks() == Looks::Yes {
            self.missed(role, draft.at, out);
        } else {
            // Too little was seen to call it a message.
            self.half_mut(role).drift();
        }
    }

    /// A head was somewhere in bytes that are missing.
    pub(super) fn missed(&mut self, role: Role, at: Timestamp, out: &mut Output<'_>) {
        self.exchanges.lost();
        self.half_mut(role).drift();
        if role == Role::Requests && self.exchanges.may_leave() {
            return;
        }
        out.shared.anomalies.heads_cut = out.shared.anomalies.heads_cut.saturating_add(1);
        if role == Role::Requests {
            let count = self.exchanges.missed();
            self.unobserved(count, at, out);
        }
    }
}

fn end_of(seq: u32, len: usize) -> u32 {
    seq.wrapping_add(u32::try_from(len).unwrap_or(0))
}
