//! The shape of a path: what names one thing among many is left out, so that `/cart/7` and `/cart/8` are one class of hops.

use std::hash::Hasher;

use rustc_hash::FxHasher;

use crate::ids::ServiceId;

/// Segments that count; what follows is one class.
const SEGMENTS_MAX: usize = 8;
/// A segment of at least this length is a name of one thing: a token, a slug, a hash.
const NAME_LENGTH: usize = 24;
/// Hexadecimal letters alone are an id from this length on (half of a span id); `cafe` is a word.
const HEX_LENGTH: usize = 8;

/// The class of a hop as one number: service, peer, method and the shape of the path.
pub(super) fn class_of(service: ServiceId, peer: ServiceId, method: &str, path: &str) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write_u32(service.0);
    hasher.write_u32(peer.0);
    hasher.write(method.as_bytes());
    for segment in segments(path) {
        hasher.write_u8(b'/');
        hasher.write(segment.as_bytes());
    }
    hasher.finish()
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    path.split('/')
        .filter(|segment| !segment.is_empty())
        .take(SEGMENTS_MAX)
        .map(|segment| if names_one_thing(segment) { "*" } else { segment })
}

fn names_one_thing(segment: &str) -> bool {
    if segment.len() >= NAME_LENGTH {
        return true;
    }
    let digits = segment.bytes().filter(u8::is_ascii_digit).count();
    let version = digits > 0 && segment.len() == digits.saturating_add(1) && segment.starts_with(['v', 'V']);
    let hex = segment.len() >= HEX_LENGTH && segment.bytes().all(|byte| byte.is_ascii_hexdigit());
    hex || (digits > 0 && !version) || segment.bytes().any(|byte| matches!(byte, b'%' | b'@' | b'=' | b','))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(path: &str) -> String {
        segments(path).flat_map(|segment| ["/", segment]).collect()
    }

    #[test]
    fn what_names_one_thing_among_many_is_left_out() {
        for (path, expected) in [
            ("/", ""),
            ("/cart/7", "/cart/*"),
            ("/api/v1/users/alice", "/api/v1/users/alice"),
            ("/api/v2beta/x", "/api/*/x"),
            ("/orders/3f2b8c1e-7d52-4a0e-9a51-0c6c2f1c8f11/lines", "/orders/*/lines"),
            ("/blob/deadbeef", "/blob/*"),
            ("/cafe", "/cafe"),
            ("/user/a%40b", "/user/*"),
            ("//a///b/?secret=1", "/a/b"),
            ("/a/b/c/d/e/f/g/h/i/j", "/a/b/c/d/e/f/g/h"),
            ("/article/how-to-write-a-very-long-title", "/article/*"),
            ("*", "/*"),
        ] {
            assert_eq!(shape(path), expected, "{path}");
        }
    }

    #[test]
    fn a_class_is_one_service_peer_method_and_shape() {
        let class = |service, peer, method, path| class_of(ServiceId(service), ServiceId(peer), method, path);
        assert_eq!(class(1, 2, "GET", "/cart/7"), class(1, 2, "GET", "/cart/8"));
        for other in [class(2, 2, "GET", "/cart/7"), class(1, 3, "GET", "/cart/7"), class(1, 2, "PUT", "/cart/7")] {
            assert_ne!(class(1, 2, "GET", "/cart/7"), other);
        }
        assert_ne!(class(1, 2, "GET", "/cart/7"), class(1, 2, "GET", "/cart"));
    }
}
