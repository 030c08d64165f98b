//! Where a request begins among bytes of which that is not known: bytes come in, what is to be expected where goes out.

use memchr::memmem;

use super::frame::{LEAP_MAX, NEAR_MAX, REQUEST_HEADER_BYTES, Request, is_client_id};
use super::half::{Expected, Trust};

/// A version of produce and fetch requests that is not too old.
const VERSION_READ: u8 = 4;

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// How many bytes to pass over.
    pub(super) passed: usize,
    /// What stands behind them.
    pub(super) expected: Expected,
}

/// What is known of the client: its id, if that is, and the number of the last request that was seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known<'a> {
    pub(super) client_id: Option<&'a [u8]>,
    pub(super) correlation: i32,
}

/// Looks for the beginning of a request in bytes that begin at `seq` and are a piece's, of which every byte is there if `whole`.
/// What looks like a request of the same client, later than the last one, is believed
/// - where another one follows it, or
/// - where it ends with the piece.
///
/// What ends behind these bytes is believed once another one follows there. Where nothing is known of the client, a request is
/// looked for at the beginning of a piece alone.
pub(super) fn search(bytes: &[u8], whole: bool, seq: u32, known: Option<Known<'_>>) -> Found {
    let mut spanning = None;
    for offset in candidates(bytes, known) {
        let candidate = bytes.get(offset..).unwrap_or_default();
        let Some(request) = plausible(candidate, known) else { continue };
        let end = usize::try_from(request.wire_len()).unwrap_or(usize::MAX).saturating_add(offset);
        let next = bytes.get(end..).and_then(Request::at);
        let follows = |next: Request| next.is_plausible() && next.may_follow(request.client_len(), request.correlation);
        if next.is_some_and(follows) || (whole && end == bytes.len()) {
            return Found { passed: offset, expected: Expected::Header(Trust::Certain) };
        }
        if next.is_none() && spanning.is_none() {
            let at = seq.wrapping_add(u32::try_from(end).unwrap_or(0));
            spanning = Some((at, request.client_len(), request.correlation));
        }
    }
    Found { passed: bytes.len(), expected: Expected::Adrift { request_at: spanning } }
}

/// Whether bytes begin like a request, all but certainly: for the beginning of a piece of a connection of which nothing is known.
pub(super) fn begins(bytes: &[u8]) -> bool {
    let Some(request) = plausible(bytes, None) else { return false };
    let end = usize::try_from(request.wire_len()).unwrap_or(usize::MAX);
    match bytes.get(end..) {
        Some([]) => true,
        Some(next) => match Request::at(next) {
            Some(next) => next.is_plausible() && next.may_follow(request.client_len(), request.correlation),
            None => may_begin(next),
        },
        None => request.client_len() > 0,
    }
}

/// Whether bytes are too few to tell, and may be the beginning of a request.
pub(super) fn may_begin(bytes: &[u8]) -> bool {
    if let Some(behind) = bytes.get(REQUEST_HEADER_BYTES..) {
        let cut = |request: &Request| request.wire_len() > bytes.len() as u64;
        return Request::at(bytes).filter(Request::is_plausible).filter(cut).is_some_and(|request| {
            let id = request.client_id(behind);
            is_client_id(id.unwrap_or(behind)) && (id.is_none() || request.client_len() <= 0)
        });
    }
    let mut header = [0; REQUEST_HEADER_BYTES];
    for (byte, known) in header.iter_mut().zip(bytes) {
        *byte = *known;
    }
    // What is cut is taken for what makes a request of it.
    match (bytes.len(), &mut header) {
        (0, _) => return false,
        (1..=3, [_, _, _, length, _, _, _, version, ..]) => (*length, *version) = (u8::MAX, VERSION_READ),
        (4..=7, [_, _, _, _, _, 0 | 1, _, version, ..]) => *version = VERSION_READ,
        (13, [.., first, last]) if *first == u8::MAX => *last = u8::MAX,
        _ => {}
    }
    Request::at(&header).is_some_and(|request| request.is_plausible())
}

/// Where a request may begin.
fn candidates<'a>(bytes: &'a [u8], known: Option<Known<'a>>) -> impl Iterator<Item = usize> + 'a {
    let id = known.and_then(|known| known.client_id).filter(|id| !id.is_empty());
    let named = id.into_iter().flat_map(move |id| memmem::find_iter(bytes, id));
    let named = named.filter_map(|at| at.checked_sub(REQUEST_HEADER_BYTES)).filter(|&at| at > 0);
    std::iter::once(0).chain(named)
}

/// The request that bytes begin with, if it may be one of this client.
fn plausible(bytes: &[u8], known: Option<Known<'_>>) -> Option<Request> {
    let request = Request::at(bytes).filter(Request::is_plausible)?;
    let id = request.client_id(bytes.get(REQUEST_HEADER_BYTES..)?)?;
    let fits = match known {
        Some(Known { client_id: Some(known), correlation }) => known == id && request.is_later(correlation, LEAP_MAX),
        Some(Known { client_id: None, correlation }) => request.is_later(correlation, NEAR_MAX),
        None => true,
    };
    (fits && is_client_id(id)).then_some(request)
}
